"""A small PDF of some pages of text."""

from __future__ import annotations

from pathlib import Path

from pypdf import PdfWriter
from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject


def write_pdf(path: Path, *pages: str) -> None:
    """Write a page for each text, a line for each of its lines, in a font that every reader has."""
    writer = PdfWriter()
    font = {"/Type": "/Font", "/Subtype": "/Type1", "/BaseFont": "/Helvetica"}
    added = writer._add_object(DictionaryObject({NameObject(key): NameObject(name) for key, name in font.items()}))
    fonts = DictionaryObject({NameObject("/F1"): added})
    for text in pages:
        lines = "".join(f"({line}) Tj T* " for line in text.splitlines())
        content = DecodedStreamObject()
        content.set_data(f"BT /F1 12 Tf 14 TL 50 780 Td {lines}ET".encode())
        page = writer.add_blank_page(595, 842)
        page[NameObject("/Resources")] = DictionaryObject({NameObject("/Font"): fonts})
        page[NameObject("/Contents")] = writer._add_object(content)
    writer.write(path)

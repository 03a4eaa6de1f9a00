"""The twenty movies of Qdrant's ColBERT tutorial.

https://qdrant.tech/documentation/fastembed/fastembed-colbert
"""

from typing import NamedTuple


class Movie(NamedTuple):
    """A movie: its name, its length in minutes and what happens in it."""

    name: str
    minutes: int
    description: str


MOVIES = [
    Movie(
        "The Passion of Joan of Arc",
        114,
        "In 1431, Jeanne d'Arc is placed on trial on charges of heresy. The ecclesiastical jurists attempt to"
        " force Jeanne to recant her claims of holy visions.",
    ),
    Movie(
        "Sherlock Jr.",
        45,
        "A film projectionist longs to be a detective, and puts his meagre skills to work when he is framed "
        "by a rival for stealing his girlfriend's father's pocketwatch.",
    ),
    Movie(
        "Heat",
        170,
        "A group of high-end professional thieves start to feel the heat from the LAPD when they unknowingly "
        "leave a clue at their latest heist.",
    ),
    Movie(
        "Kagemusha",
        162,
        "A petty thief with an utter resemblance to a samurai warlord is hired as the lord's double. When the"
        " warlord later dies the thief is forced to take up arms in his place.",
    ),
    Movie(
        "Kubo and the Two Strings",
        101,
        "A young boy named Kubo must locate a magical suit of armour worn by his late father in order to "
        "defeat a vengeful spirit from the past.",
    ),
    Movie(
        "Sardar Udham",
        164,
        "A biopic detailing the 2 decades that Punjabi Sikh revolutionary Udham Singh spent planning the "
        "assassination of the man responsible for the Jallianwala Bagh massacre.",
    ),
    Movie(
        "Paprika",
        90,
        "When a machine that allows therapists to enter their patients' dreams is stolen, all hell breaks "
        "loose. Only a young female therapist, Paprika, can stop it.",
    ),
    Movie(
        "After Hours",
        97,
        "An ordinary word processor has the worst night of his life after he agrees to visit a girl in Soho "
        "whom he met that evening at a coffee shop.",
    ),
    Movie(
        "Udta Punjab",
        148,
        "A story that revolves around drug abuse in the affluent north Indian State of Punjab and how the "
        "youth there have succumbed to it en-masse resulting in a socio-economic decline.",
    ),
    Movie(
        "Philomena",
        98,
        "A world-weary political journalist picks up the story of a woman's search for her son, who was taken"
        " away from her decades ago after she became pregnant and was forced to live in a convent.",
    ),
    Movie(
        "Neon Genesis Evangelion: The End of Evangelion",
        87,
        "Concurrent theatrical ending of the TV series Neon Genesis Evangelion (1995).",
    ),
    Movie(
        "The Dirty Dozen",
        150,
        "During World War II, a rebellious U.S. Army Major is assigned a dozen convicted murderers to train "
        "and lead them into a mass assassination mission of German officers.",
    ),
    Movie(
        "Toy Story 3",
        103,
        "The toys are mistakenly delivered to a day-care center instead of the attic right before Andy leaves"
        " for college, and it's up to Woody to convince the other toys that they weren't abandoned and to "
        "return home.",
    ),
    Movie(
        "Edge of Tomorrow",
        113,
        "A soldier fighting aliens gets to relive the same day over and over again, the day restarting every "
        "time he dies.",
    ),
    Movie(
        "Some Like It Hot",
        121,
        "After two male musicians witness a mob hit, they flee the state in an all-female band disguised as "
        "women, but further complications set in.",
    ),
    Movie(
        "Snow White and the Seven Dwarfs",
        83,
        "Exiled into the dangerous forest by her wicked stepmother, a princess is rescued by seven dwarf "
        "miners who make her part of their household.",
    ),
    Movie(
        "It Happened One Night",
        105,
        "A renegade reporter trailing a young runaway heiress for a big story joins her on a bus heading from"
        " Florida to New York, and they end up stuck with each other when the bus leaves them behind at one "
        "of the stops.",
    ),
    Movie(
        "Nefes: Vatan Sagolsun",
        128,
        "Story of 40-man Turkish task force who must defend a relay station.",
    ),
    Movie(
        "This Is Spinal Tap",
        82,
        "Spinal Tap, one of England's loudest bands, is chronicled by film director Marty DiBergi on what "
        "proves to be a fateful tour.",
    ),
    Movie(
        "Let the Right One In",
        114,
        "Oskar, an overlooked and bullied boy, finds love and revenge through Eli, a beautiful but peculiar girl.",
    ),
]

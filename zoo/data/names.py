"""Names in 29 languages with the kind of thing that they name, from the CLDR tables that Babel contains."""

from zoo.data.pairs import LOCALES

LANGUAGES = tuple(sorted({locale.partition("_")[0] for locale in LOCALES}))
KINDS = ("city", "currency", "language", "territory")


def load_names() -> tuple[list[tuple[str, int]], list[str]]:
    """The names, each with the index of its kind in `KINDS`, and for each name the thing that it names.

    A thing is a kind and its code, such as "currency EUR". Things are in the order of their codes, and the names of a
    thing are sorted; a name that several languages share is in the list once. Cities are those of the time zones. The
    names depend on the version of Babel, not on that of Python.
    """
    from babel import Locale

    names: dict[tuple[int, str], set[str]] = {}
    for locale in map(Locale, LANGUAGES):
        cities = {zone: entry["city"] for zone, entry in locale.time_zones.items() if "city" in entry}
        tables = (cities, locale.currencies, locale.languages, locale.territories)
        for kind, table in enumerate(tables):
            for code, name in table.items():
                names.setdefault((kind, code), set()).add(name)
    rows, things = [], []
    for (kind, code), found in sorted(names.items()):
        rows += [(name, kind) for name in sorted(found)]
        things += [f"{KINDS[kind]} {code}"] * len(found)
    return rows, things

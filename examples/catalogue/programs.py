"""The programs that researchers write. Pure: text.

A researcher finds the fields of a page in the page's own way, and then makes a record of them. Flaws are in the second
part, as an agent in a hurry would leave them there.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from examples.catalogue.world import Flaw

# Each finds `fields`, texts by name, in `page`.
FIND: Final[Mapping[str, str]] = MappingProxyType(
    {
        "keyvalue": """\
fields = {}
for line in page.split("\\n"):
    label, colon, value = line.partition(":")
    if colon:
        fields[label.strip().lower()] = value.strip()
""",
        "pipes": """\
fields = {}
for line in page.split("\\n"):
    cells = [cell.strip() for cell in line.split("|")]
    if len(cells) == 4 and cells[1]:
        fields[cells[1].lower()] = cells[2]
""",
        "json": """\
import json

fields = json.loads(page[page.find("{") : page.rfind("}") + 1])["data"]
""",
        "csv": """\
import csv

rows = [row for row in csv.reader(page.splitlines(), delimiter=";")]
fields = {}
for place in range(len(rows[0])):
    fields[str(rows[0][place])] = rows[1][place]
""",
        "html": """\
import re

fields = {}
for label, value in re.findall(r"<th>([a-z]+)</th><td[^>]*>([^<]*)</td>", page):
    fields[str(label)] = value.replace("&quot;", '"').replace("&#x27;", "'").replace("&amp;", "&")
""",
        "prose": """\
import re

fields = {}
found = re.search(r"try (.+) \\(article ([^,]+), release ([^)]+)\\)", page)
fields["name"], fields["sku"], fields["version"] = found.group(1), found.group(2), found.group(3)
for label, pattern in [("price", "costs: ["), ("released", "out on ["), ("licence", "Its licence: ")]:
    start = page.find(pattern)
    if start >= 0:
        rest = page[start + len(pattern) :]
        end = rest.find(". ") if label == "licence" else rest.find("]")
        fields[str(label)] = rest[:end]
""",
        "ini": """\
fields = {}
section = ""
for line in page.split("\\n"):
    if line.startswith("["):
        section = line.strip("[]")
    elif section == "product" and "=" in line:
        label, _, value = line.partition("=")
        fields[label.strip()] = value.split(";")[0].strip()
""",
        "changelog": """\
lines = page.split("\\n")
name, _, rest = lines[0].partition(" <")
sku, _, price = rest.partition("> costs ")
fields = {"name": name, "sku": sku, "price": price}
for line in lines[1:]:
    if line.startswith("under "):
        fields["licence"] = line.removeprefix("under ")
    if line.startswith("* ") and "version" not in fields:
        version, dash, released = line.removeprefix("* ").partition(" -- ")
        fields["version"] = version
        if dash:
            fields["released"] = released
""",
        "nested": """\
fields = {}
label = ""
for line in page.split("\\n"):
    line = line.strip()
    if line.startswith("- key: "):
        label = line.removeprefix("- key: ")
    elif line.startswith("value: "):
        fields[str(label)] = line.removeprefix("value: ").strip("'")
""",
        "columns": """\
fields = {}
for line in page.split("\\n"):
    fields[line[3:15].strip()] = line[15:].strip()
""",
        "query": """\
fields = {}
for pair in page.split(" ")[1].partition("?")[2].split("&"):
    label, _, value = pair.partition("=")
    pieces = value.replace("+", " ").split("%")
    text = pieces[0]
    for piece in pieces[1:]:
        text += {"20": " ", "24": "$", "26": "&", "2C": ",", "2F": "/"}[piece[:2]] + piece[2:]
    fields[str(label)] = text
""",
        "hostile": """\
fields = {}
inside = False
for line in page.split("\\n"):
    if line == "--begin--" or line == "--end--":
        inside = line == "--begin--"
    elif inside:
        label, _, value = line.partition("=")
        fields[str(label)] = value
""",
        "sheet": """\
import csv
import io

fields = dict(next(csv.DictReader(io.StringIO(page))))
""",
        "xml": """\
import xml.etree.ElementTree as ET

fields = {field.attrib["name"]: field.text for field in ET.fromstring(page)}
""",
        "accented": """\
import unicodedata

fields = {}
for line in unicodedata.normalize("NFC", page).splitlines():
    label, arrow, value = line.partition("\\N{RIGHTWARDS ARROW}")
    if arrow:
        fields[label.strip("\\N{BULLET} ")] = value
""",
        "scan": "fields = {}\n",
    }
)

_MONEY: Final = """
def money(text):
    currency = None
    for sign, name in [("$", "USD"), ("USD", "USD"), ("EUR", "EUR"), ("GBP", "GBP")]:
        if sign in text:
            currency = name
    if text == "free":
        return 0, None
    number = "".join([letter for letter in text if letter in "0123456789.,"])
    if not number:
        return None, None
    return int(number.replace(".", "").replace(",", "")), currency
"""
_REST: Final = """
def day(text):
    months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
    if not text:
        return None
    words = text.replace(",", " ").replace(".", " ").replace("/", " ").replace("-", " ").split()
    for place in range(3):
        if words[place][:3] in months:
            words[place] = str(months.index(words[place][:3]) + 1)
    if len(words[0]) == 4:
        year, month, number = words
    elif len(text) == 10 and text[2] == ".":
        number, month, year = words
    elif text[0] in "0123456789":
        number, month, year = words
    else:
        month, number, year = words
    return year + "-" + month.zfill(2) + "-" + number.zfill(2)


def licence(text):
    known = {
        "mit": "MIT",
        "mit license": "MIT",
        "bsd-3-clause": "BSD-3-Clause",
        "bsd 3-clause": "BSD-3-Clause",
        "gpl-3.0": "GPL-3.0",
        "gpl v3": "GPL-3.0",
        "gpl 3": "GPL-3.0",
        "proprietary": "proprietary",
        "commercial": "proprietary",
        "all rights reserved": "proprietary",
    }
    return known[text.lower()] if text else None

"""
_RECORD: Final = """
{{
    "sku": fields["{label}"],
    "name": fields["name"],
    "version": fields["version"].removeprefix("Version ").removeprefix("v"),
    "licence": licence(fields.get("licence", "")),
    "price_cents": {cents},
    "currency": {currency},
    "released": day({released}),
}}
"""


def program(template: str, flaw: Flaw | None = None, note: str = "") -> str:
    """A program for pages of that template. `note` is what its researcher believes to have changed."""
    record = _RECORD.format(
        label="article" if flaw is Flaw.LABEL else "sku",
        cents={Flaw.SHAPE: 'fields["price"]', Flaw.PRICE: "int(float(price) * 100)"}.get(flaw, "money(price)[0]")
        if flaw
        else "money(price)[0]",
        currency="currency_of(price)" if flaw is Flaw.NAME else "money(price)[1]",
        released='fields["released"]' if flaw is Flaw.MISSING else 'fields.get("released", "")',
    )
    price = 'price = fields.get("price", "")\n'
    text = f"{note}{FIND[template]}\n{_MONEY}\n{_REST}\n{price}{record}"
    return f"```python\n{text}```\n" if flaw is Flaw.FENCE else text

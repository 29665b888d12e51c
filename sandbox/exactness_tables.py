"""What the exactness guard lets through: names whose behaviour in Monty was compared with CPython 3.13. Data only."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


BUILTINS: Final = _words(
    "abs all any bin bool chr dict divmod enumerate filter float frozenset hex int isinstance len list"
    " map max min oct ord pow print range repr reversed round set sorted str sum tuple zip True False None"
    " NotImplementedError ValueError KeyError IndexError ZeroDivisionError TypeError RuntimeError"
    " Exception StopIteration"
)
CAUGHT: Final = _words("ValueError KeyError IndexError ZeroDivisionError")
LAZY: Final = _words(
    "map filter zip enumerate reversed itertools.permutations itertools.combinations itertools.accumulate"
    " itertools.combinations_with_replacement itertools.product itertools.chain itertools.zip_longest"
    " itertools.pairwise csv.reader re.finditer"
)
CONSUMERS: Final = _words(
    "sum min max sorted list tuple dict set frozenset any all collections.Counter collections.deque math.prod math.fsum"
)
CONSUMING_METHODS: Final = _words("join extend update")
PURE_FUNCTIONS: Final = _words("int str float bool len abs repr isinstance range ord chr min max")
SET_FUNCTIONS: Final = _words("sorted len min max set frozenset any all bool")
SET_MAKERS: Final = _words("union intersection difference symmetric_difference")
SET_METHODS: Final = SET_MAKERS | _words("add discard remove update issubset issuperset isdisjoint clear")
MUTATORS: Final = _words(
    "append appendleft extend insert pop popleft popitem remove clear sort reverse update setdefault add discard rotate"
)
CASE_METHODS: Final = _words(
    "upper lower title capitalize swapcase isalpha isalnum isdigit isspace isupper islower splitlines"
    " split strip lstrip rstrip rsplit"
)
METHODS: Final = (
    MUTATORS
    | SET_METHODS
    | CASE_METHODS
    | _words(
        "join replace startswith endswith find rfind index count zfill center ljust rjust format partition"
        " rpartition removeprefix removesuffix encode decode get items keys values copy fromkeys most_common"
        " total group groups groupdict start end span findall finditer match fullmatch search sub isoformat"
        " now today strftime strptime weekday isoweekday date days seconds year month day hour minute second"
        " total_seconds quantize hexdigest hex _replace _asdict _fields"
    )
)
DUNDERS: Final = _words(
    "__init__ __repr__ __str__ __eq__ __contains__ __iter__ __next__ __enter__ __exit__ __add__ __radd__"
    " __sub__ __mul__ __truediv__ __neg__ __getitem__ __setitem__ __call__ __post_init__"
)
# Methods whose value is text, of every type in question that has them.
TEXT_METHODS: Final = _words(
    "upper lower title capitalize swapcase strip lstrip rstrip replace join format zfill ljust rjust"
    " center removeprefix removesuffix group isoformat strftime hexdigest"
)
# Methods whose value is nothing that was there before.
NEW_VALUES: Final = TEXT_METHODS | _words("split rsplit splitlines copy count index find append")
# Functions that call another one for each piece -> the place of that one among the arguments.
CALLING_BACK: Final[Mapping[str, int]] = MappingProxyType({"map": 0, "filter": 0, "itertools.accumulate": 1})
FUNCTION_OPTIONS: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        "print": _words("sep end flush"),
        "json.dumps": _words("indent sort_keys separators"),
        "sorted": frozenset(["key", "reverse"]),
        "min": frozenset(["key", "default"]),
        "max": frozenset(["key", "default"]),
        "sum": frozenset(["start"]),
        "enumerate": frozenset(["start"]),
        "zip": frozenset(["strict"]),
        "round": frozenset(["ndigits"]),
        "dataclasses.dataclass": frozenset(["frozen"]),
        "dataclasses.field": frozenset(["default", "default_factory"]),
        "csv.reader": frozenset(["delimiter"]),
        "json.loads": frozenset(),
    }
)
OPTIONS: Final = _words(
    "key reverse sep maxsplit keepends n flags count rounding days weeks hours minutes seconds year month"
    " day hour minute second microsecond maxsize maxlen repeat fillvalue initial"
)
# What takes the caller's own names.
ANY_OPTIONS: Final = _words("dict collections.Counter format _replace update")
TYPES: Final = _words("datetime.date datetime.datetime datetime.timedelta decimal.Decimal")
# How many types stand between the brackets of what is no class of its own; None for any number.
TYPE_ARGUMENTS: Final[Mapping[str, int | None]] = MappingProxyType(
    {
        **dict.fromkeys(["list", "dict", "tuple", "set", "frozenset", "Literal", "Tuple", "Union"], None),
        **dict.fromkeys(["List", "Set", "Iterable", "Iterator", "Sequence", "Optional", "Final"], 1),
        **dict.fromkeys(["Dict", "Mapping", "Callable"], 2),
    }
)
FLOAT_FREE_MATH: Final = _words("gcd lcm factorial comb perm isqrt floor ceil trunc")
_TYPING: Final = _words(
    "Any Callable Dict Final Iterable Iterator List Literal Mapping Optional Sequence Set Tuple Union"
)
MODULES: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        "__future__": frozenset({"annotations"}),
        "base64": frozenset(["b64encode", "b64decode"]),
        "bisect": _words("bisect bisect_left bisect_right insort insort_left insort_right"),
        "collections": _words("Counter defaultdict deque namedtuple"),
        "csv": frozenset({"reader"}),
        "dataclasses": frozenset(["dataclass", "field"]),
        "datetime": _words("date datetime timedelta"),
        "decimal": _words(
            "Decimal ROUND_CEILING ROUND_DOWN ROUND_FLOOR ROUND_HALF_DOWN ROUND_HALF_EVEN ROUND_HALF_UP ROUND_UP"
        ),
        "functools": _words("cache lru_cache reduce"),
        "hashlib": _words("md5 sha1 sha256 sha512"),
        "itertools": _words(
            "accumulate chain combinations combinations_with_replacement pairwise permutations product zip_longest"
        ),
        "json": frozenset(["dumps", "loads"]),
        "math": FLOAT_FREE_MATH
        | _words(
            "acos asin atan atan2 copysign cos degrees dist e exp fabs fmod fsum hypot inf isclose isfinite isinf"
            " isnan log log10 log2 nan pi pow prod radians sin sqrt tan tau"
        ),
        "random": _words("choice randint random seed shuffle"),
        "re": _words("DOTALL I IGNORECASE M MULTILINE S compile findall finditer fullmatch match search split sub"),
        "typing": _TYPING,
    }
)

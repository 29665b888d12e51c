"""What the exactness guard lets through: names whose behaviour in Monty was compared with CPython 3.13. Data only."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

BUILTINS: Final = frozenset(
    [
        "abs",
        "all",
        "any",
        "bin",
        "bool",
        "chr",
        "dict",
        "divmod",
        "enumerate",
        "filter",
        "float",
        "frozenset",
        "hex",
        "int",
        "isinstance",
        "len",
        "list",
        "map",
        "max",
        "min",
        "oct",
        "ord",
        "pow",
        "print",
        "range",
        "repr",
        "reversed",
        "round",
        "set",
        "sorted",
        "str",
        "sum",
        "tuple",
        "zip",
        "True",
        "False",
        "None",
        "NotImplementedError",
        "ValueError",
        "KeyError",
        "IndexError",
        "ZeroDivisionError",
        "TypeError",
        "RuntimeError",
        "Exception",
        "StopIteration",
    ]
)
CAUGHT: Final = frozenset(["ValueError", "KeyError", "IndexError", "ZeroDivisionError"])
LAZY: Final = frozenset(
    [
        "map",
        "filter",
        "zip",
        "enumerate",
        "reversed",
        "itertools.permutations",
        "itertools.combinations",
        "itertools.accumulate",
        "itertools.combinations_with_replacement",
        "itertools.product",
        "itertools.chain",
        "itertools.zip_longest",
        "itertools.pairwise",
        "csv.reader",
        "re.finditer",
    ]
)
CONSUMERS: Final = frozenset(
    [
        "sum",
        "min",
        "max",
        "sorted",
        "list",
        "tuple",
        "dict",
        "set",
        "frozenset",
        "any",
        "all",
        "collections.Counter",
        "collections.deque",
        "math.prod",
        "math.fsum",
    ]
)
CONSUMING_METHODS: Final = frozenset(["join", "extend", "update"])
PURE_FUNCTIONS: Final = frozenset(
    ["int", "str", "float", "bool", "len", "abs", "repr", "isinstance", "range", "ord", "chr", "min", "max"]
)
SET_FUNCTIONS: Final = frozenset(["sorted", "len", "min", "max", "set", "frozenset", "any", "all", "bool"])
SET_MAKERS: Final = frozenset(["union", "intersection", "difference", "symmetric_difference"])
SET_METHODS: Final = SET_MAKERS | frozenset(
    ["add", "discard", "remove", "update", "issubset", "issuperset", "isdisjoint", "clear"]
)
MUTATORS: Final = frozenset(
    [
        "append",
        "appendleft",
        "extend",
        "insert",
        "pop",
        "popleft",
        "popitem",
        "remove",
        "clear",
        "sort",
        "reverse",
        "update",
        "setdefault",
        "add",
        "discard",
        "rotate",
    ]
)
CASE_METHODS: Final = frozenset(
    [
        "upper",
        "lower",
        "title",
        "capitalize",
        "swapcase",
        "isalpha",
        "isalnum",
        "isdigit",
        "isspace",
        "isupper",
        "islower",
        "splitlines",
        "split",
        "strip",
        "lstrip",
        "rstrip",
        "rsplit",
    ]
)
METHODS: Final = (
    MUTATORS
    | SET_METHODS
    | CASE_METHODS
    | frozenset(
        [
            "join",
            "replace",
            "startswith",
            "endswith",
            "find",
            "rfind",
            "index",
            "count",
            "zfill",
            "center",
            "ljust",
            "rjust",
            "format",
            "partition",
            "rpartition",
            "removeprefix",
            "removesuffix",
            "encode",
            "decode",
            "get",
            "items",
            "keys",
            "values",
            "copy",
            "fromkeys",
            "most_common",
            "total",
            "group",
            "groups",
            "groupdict",
            "start",
            "end",
            "span",
            "findall",
            "finditer",
            "match",
            "fullmatch",
            "search",
            "sub",
            "isoformat",
            "strftime",
            "strptime",
            "weekday",
            "isoweekday",
            "date",
            "days",
            "seconds",
            "year",
            "month",
            "day",
            "hour",
            "minute",
            "second",
            "total_seconds",
            "quantize",
            "hexdigest",
            "hex",
            "_replace",
            "_asdict",
            "_fields",
        ]
    )
)
DUNDERS: Final = frozenset(
    [
        "__init__",
        "__repr__",
        "__str__",
        "__eq__",
        "__hash__",
        "__contains__",
        "__enter__",
        "__exit__",
        "__add__",
        "__radd__",
        "__sub__",
        "__mul__",
        "__truediv__",
        "__neg__",
        "__getitem__",
        "__setitem__",
        "__call__",
        "__post_init__",
    ]
)
FLOAT_FREE_MATH: Final = frozenset(["gcd", "lcm", "factorial", "comb", "perm", "isqrt", "floor", "ceil", "trunc"])
_TYPING: Final = frozenset(
    [
        "Any",
        "Callable",
        "Dict",
        "Final",
        "Iterable",
        "Iterator",
        "List",
        "Literal",
        "Mapping",
        "Optional",
        "Sequence",
        "Set",
        "Tuple",
        "Union",
    ]
)
MODULES: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        "__future__": frozenset({"annotations"}),
        "base64": frozenset(["b64encode", "b64decode"]),
        "bisect": frozenset(["bisect", "bisect_left", "bisect_right", "insort", "insort_left", "insort_right"]),
        "collections": frozenset(["Counter", "defaultdict", "deque", "namedtuple"]),
        "csv": frozenset({"reader"}),
        "dataclasses": frozenset(["dataclass", "field"]),
        "datetime": frozenset(["date", "datetime", "timedelta"]),
        "decimal": frozenset(
            [
                "Decimal",
                "ROUND_CEILING",
                "ROUND_DOWN",
                "ROUND_FLOOR",
                "ROUND_HALF_DOWN",
                "ROUND_HALF_EVEN",
                "ROUND_HALF_UP",
                "ROUND_UP",
            ]
        ),
        "functools": frozenset(["cache", "lru_cache", "reduce"]),
        "hashlib": frozenset(["md5", "sha1", "sha256", "sha512"]),
        "itertools": frozenset(
            [
                "accumulate",
                "chain",
                "combinations",
                "combinations_with_replacement",
                "pairwise",
                "permutations",
                "product",
                "zip_longest",
            ]
        ),
        "json": frozenset(["dumps", "loads"]),
        "math": FLOAT_FREE_MATH
        | frozenset(
            [
                "acos",
                "asin",
                "atan",
                "atan2",
                "copysign",
                "cos",
                "degrees",
                "dist",
                "e",
                "exp",
                "fabs",
                "fmod",
                "fsum",
                "hypot",
                "inf",
                "isclose",
                "isfinite",
                "isinf",
                "isnan",
                "log",
                "log10",
                "log2",
                "nan",
                "pi",
                "pow",
                "prod",
                "radians",
                "sin",
                "sqrt",
                "tan",
                "tau",
            ]
        ),
        "random": frozenset(["choice", "randint", "random", "seed", "shuffle"]),
        "re": frozenset(
            [
                "DOTALL",
                "I",
                "IGNORECASE",
                "M",
                "MULTILINE",
                "S",
                "compile",
                "findall",
                "finditer",
                "fullmatch",
                "match",
                "search",
                "split",
                "sub",
            ]
        ),
        "typing": _TYPING,
    }
)

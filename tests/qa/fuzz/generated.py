"""Values that a JSON schema allows, for the part of JSON Schema that our document uses.

Raises KeyError for a keyword that it does not know, so that none is left out of a test unnoticed.
"""

from collections.abc import Callable, Mapping
from typing import Any

from hypothesis import strategies as st

Schema = Mapping[str, Any]
Made = st.SearchStrategy[Any]

_SAYS_NOTHING = {"description", "title", "examples", "example"}
_ANYTHING: Made = st.one_of(
    st.none(), st.booleans(), st.integers(), st.text(max_size=5), st.just([]), st.just({"a": [1]})
)


class FromSchema:
    """Strategies for the schemas of one document; `only` replaces some of its components."""

    def __init__(self, document: Schema, **only: Made) -> None:
        self._components = document["components"]["schemas"]
        self._made = dict(only)

    def component(self, name: str) -> Made:
        """Values of this component."""
        if name not in self._made:
            self._made[name] = self.of(self._components[name])
        return self._made[name]

    def of(self, schema: Schema) -> Made:
        """Values of this schema."""
        schema = {key: value for key, value in schema.items() if key not in _SAYS_NOTHING}
        if "$ref" in schema:
            return self.component(schema["$ref"].rpartition("/")[2])
        if "anyOf" in schema:
            return st.one_of([self.of(each) for each in schema["anyOf"]])
        if "not" in schema:
            refused = schema["not"]["enum"]
            rest = self.of({key: value for key, value in schema.items() if key != "not"})
            return rest.filter(lambda value: value not in refused)
        if "enum" in schema:
            return st.sampled_from(schema["enum"])
        if "type" not in schema:
            assert not schema, schema
            return _ANYTHING
        makers: dict[str, Callable[[Schema], Made]] = {
            "string": _string,
            "integer": lambda of: st.integers(of["minimum"], of["maximum"]),
            "number": lambda of: st.floats(of["minimum"], of["maximum"]),
            "boolean": lambda _: st.booleans(),
            "null": lambda _: st.none(),
            "array": self._array,
            "object": self._object,
        }
        return makers[schema["type"]](schema)

    def _array(self, schema: Schema) -> Made:
        least = schema.get("minItems", 0)
        return st.lists(self.of(schema["items"]), min_size=least, max_size=least + 2)

    def _object(self, schema: Schema) -> Made:
        if "propertyNames" in schema:
            return st.dictionaries(
                self.of(schema["propertyNames"]),
                self.of(schema["additionalProperties"]),
                min_size=schema.get("minProperties", 0),
                max_size=min(4, schema["maxProperties"]),
            )
        required = schema.get("required", [])
        fields = {name: self.of(each) for name, each in schema["properties"].items()}
        return st.fixed_dictionaries(
            {name: fields[name] for name in required},
            optional={name: each for name, each in fields.items() if name not in required},
        )


def _string(schema: Schema) -> Made:
    least, most = schema.get("minLength", 0), schema.get("maxLength", 10_000)
    made = st.from_regex(schema["pattern"].replace("$", r"\Z"))
    return made.filter(lambda text: least <= len(text) <= most)

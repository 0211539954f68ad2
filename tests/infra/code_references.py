"""What functions of the code mention, read from mypy's trees: names, members, texts."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Final

from mypy import nodes, types

OURS: Final = ("worker.", "handlers.")
"""What names of our modules begin with."""


@dataclass(slots=True)
class Reference:
    """A mention of something, in the body of a function or of a module.

    Attributes:
        line: First line of its statement.
        end: Its last line.
        is_deferred: It stands in a function within the function, which runs later.
        is_called: It is called right there.
        given_to: The class whose constructor it is handed to, by full name; empty for none.
    """

    line: int
    end: int
    is_deferred: bool
    is_called: bool
    given_to: str


@dataclass(slots=True)
class Named(Reference):
    """A mention of a function, class or variable by its full name."""

    name: str


@dataclass(slots=True)
class Virtual(Reference):
    """A mention of a member of something of a class."""

    owner: nodes.TypeInfo
    member: str


@dataclass(slots=True)
class Text(Reference):
    """A text, with the values that its holes can have."""

    texts: tuple[str, ...]


@dataclass(slots=True)
class Loose(Reference):
    """A mention of a member of something whose type nobody knows, such as an AWS client."""

    member: str


@dataclass(slots=True)
class Body:
    """What a function or the top of a module mentions.

    Attributes:
        name: Full name; of a module for its top.
        module: Where it stands.
        references: In order.
    """

    name: str
    module: str
    references: list[Reference] = field(default_factory=list)


PARTS: Final = frozenset(
    {
        *("args", "arguments", "base", "begin_index", "bodies", "body", "call", "callee", "cond"),
        *("condlists", "decorators", "defs", "else_body", "else_expr", "end_index", "expr"),
        *("finally_body", "from_expr", "func", "generator", "guards", "handlers", "if_expr"),
        *("index", "indices", "initializer", "items", "key", "left", "left_expr", "lvalues"),
        *("msg", "operands", "patterns", "right", "rvalue", "sequences", "stride", "subject"),
        *("target", "value"),
    }
)
"""Attributes of mypy's nodes in which other nodes are. What `except` and `isinstance` name is only
looked at, and is none of them."""
SIMPLE: Final = (nodes.ExpressionStmt, nodes.AssignmentStmt, nodes.ReturnStmt, nodes.RaiseStmt)
"""Statements that run as a whole or not at all."""


@cache
def _parts_of(kind: type) -> tuple[str, ...]:
    return tuple(sorted(name for name in PARTS if hasattr(kind, name)))


def _within(found: object) -> Iterator[nodes.Node]:
    if isinstance(found, nodes.Node):
        yield found
    elif isinstance(found, list | tuple):
        for one in found:
            yield from _within(one)


class Reader:
    """Collects the references of one body."""

    def __init__(self, body: Body, known: dict[nodes.Expression, types.Type]) -> None:
        self._body, self._known = body, known
        self._span = (0, 0)
        self._depth = 0
        self._called: nodes.Node | None = None
        self._given_to = ""

    def read(self, function: nodes.FuncItem) -> None:
        """Read the arguments and the body of a function."""
        self._parts(function)

    def visit(self, node: nodes.Node) -> None:
        """Read a node and what is in it."""
        if isinstance(node, nodes.ExpressionStmt) and isinstance(node.expr, nodes.StrExpr):
            return  # a docstring
        before = self._span, self._depth
        if isinstance(node, SIMPLE):
            self._span = (node.line, node.end_line or node.line)
        self._depth += isinstance(node, nodes.FuncItem)
        self._mention(node)
        self._parts(node)
        self._span, self._depth = before

    def _parts(self, node: nodes.Node) -> None:
        if isinstance(node, nodes.CallExpr):
            self._call(node)
            return
        for name in _parts_of(type(node)):  # type: ignore[arg-type]  # classes have hashes
            for part in _within(getattr(node, name)):
                self.visit(part)

    def _call(self, node: nodes.CallExpr) -> None:
        if _name_of(node.callee) in LOOKING:
            self.visit(node.args[0])
            return
        self._called = node.callee
        self.visit(node.callee)
        before = self._given_to
        callee = node.callee
        if isinstance(callee, nodes.RefExpr) and isinstance(callee.node, nodes.TypeInfo):
            self._given_to = callee.node.fullname
        for argument in node.args:
            self.visit(argument)
        self._given_to = before

    def _mention(self, node: nodes.Node) -> None:
        if isinstance(node, nodes.StrExpr):
            self._body.references.append(Text(*self._at(node), texts=(node.value,)))
        elif isinstance(node, nodes.RefExpr) and node.fullname:
            self._named(node)
        elif isinstance(node, nodes.MemberExpr):
            self._member(node, self._known.get(node.expr), node.name)
        elif isinstance(node, nodes.CallExpr):
            texts = self._formatted(node)
            if texts is not None:
                self._body.references.append(Text(*self._at(node), texts=texts))
        elif isinstance(node, nodes.SuperExpr) and node.info is not None:
            for base in node.info.mro[1:]:
                name = f"{base.fullname}.{node.name}"
                self._body.references.append(Named(*self._at(node), name=name))

    def _at(self, node: nodes.Node) -> tuple[int, int, bool, bool, str]:
        line, end = self._span if self._span[0] else (node.line, node.end_line or node.line)
        is_called = node is self._called
        given_to = self._given_to if self._depth > 0 or not is_called else ""
        return line, end, self._depth > 0, is_called, given_to

    def _named(self, node: nodes.RefExpr) -> None:
        found = node.node
        if isinstance(found, nodes.TypeAlias):
            target = types.get_proper_type(found.target)
            found = target.type if isinstance(target, types.Instance) else None
        if isinstance(found, nodes.Var) and found.final_value is not None:
            if isinstance(found.final_value, str):
                self._body.references.append(Text(*self._at(node), texts=(found.final_value,)))
            return
        if found is not None and node.fullname:
            self._body.references.append(Named(*self._at(node), name=found.fullname))

    def _member(self, node: nodes.Node, kind: types.Type | None, member: str) -> None:
        for info in _infos(kind):
            if info is None:
                self._body.references.append(Loose(*self._at(node), member=member))
            elif info.fullname.startswith(OURS):
                self._body.references.append(Virtual(*self._at(node), owner=info, member=member))

    def _formatted(self, node: nodes.CallExpr) -> tuple[str, ...] | None:
        """Return what an f-string can be, where its holes are literals of a few values."""
        callee = node.callee
        if not (
            isinstance(callee, nodes.MemberExpr)
            and callee.name == "join"
            and isinstance(callee.expr, nodes.StrExpr)
            and callee.expr.value == ""
            and len(node.args) == 1
            and isinstance(node.args[0], nodes.ListExpr)
        ):
            return None
        found = [""]
        for part in node.args[0].items:
            pieces = self._pieces(part)
            if not pieces:
                return None
            found = [before + piece for before in found for piece in pieces]
        return tuple(found)

    def _pieces(self, part: nodes.Expression) -> tuple[str, ...]:
        if isinstance(part, nodes.StrExpr):
            return (part.value,)
        if isinstance(part, nodes.CallExpr) and part.args:
            return tuple(_literals(self._known.get(part.args[0])))
        return ()


LOOKING: Final = frozenset({"builtins.isinstance", "builtins.issubclass"})


def _name_of(callee: nodes.Expression) -> str:
    return callee.fullname if isinstance(callee, nodes.RefExpr) else ""


def _infos(kind: types.Type | None) -> Iterator[nodes.TypeInfo | None]:
    """Yield the classes that something of a type may be of; None where nobody knows."""
    if kind is None:
        yield None
        return
    proper = types.get_proper_type(kind)
    if isinstance(proper, types.UnionType):
        for item in proper.items:
            yield from _infos(item)
    elif isinstance(proper, types.Instance):
        yield proper.type
    elif isinstance(proper, types.TypeType):
        yield from _infos(proper.item)
    elif isinstance(proper, types.TypeVarType):
        yield from _infos(proper.upper_bound)
    elif isinstance(proper, types.CallableType) and proper.is_type_obj():
        yield proper.type_object()
    elif isinstance(proper, types.TupleType):
        yield proper.partial_fallback.type
    elif isinstance(proper, types.AnyType):
        yield None


def _literals(kind: types.Type | None) -> Iterator[str]:
    if kind is None:
        return
    proper = types.get_proper_type(kind)
    if isinstance(proper, types.UnionType):
        for item in proper.items:
            yield from _literals(item)
    elif isinstance(proper, types.LiteralType) and isinstance(proper.value, str):
        yield proper.value

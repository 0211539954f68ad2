"""Which functions of the code can come to run, given where it begins; from mypy's own analysis.

Types say what a method is called on. A method of a port stands for the methods of all adapters
that can be there: those that are made in code that can come to run. Whatever is named, and not
called, counts as called later: functions are handed on as callbacks, tables hold others. What is
handed to a constructor counts once anything is asked of an object of that class. So the answer
errs on the side of too much, and what is too much shows as a right that nobody needs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import cache
from typing import Final

from mypy import build, nodes
from mypy.find_sources import create_source_list
from mypy.options import Options
from mypy.state import state
from mypy.subtypes import is_subtype
from mypy.typevars import fill_typevars_with_any

from tests.infra.code_references import OURS, Body, Named, Reader, Reference, Virtual

SOURCES: Final = ("handlers", "worker/bootstrap", "worker/runtime")
"""What is analysed, with everything that it imports."""


def _is_one(info: nodes.TypeInfo, asked: nodes.TypeInfo) -> bool:
    if info.has_base(asked.fullname):
        return True
    if not asked.is_protocol or any(info.get(one) is None for one in asked.protocol_members):
        return False
    with state.strict_optional_set(value=True):
        return is_subtype(fill_typevars_with_any(info), fill_typevars_with_any(asked))


class Code:
    """The code, as mypy knows it.

    Attributes:
        bodies: Of functions and of modules, by full name.
        classes: Ours, by full name.
        imports: Of our modules: which of our modules they import.
    """

    def __init__(self) -> None:
        options = Options()
        options.incremental = False
        options.export_types = options.preserve_asts = True
        options.ignore_missing_imports = options.check_untyped_defs = True
        options.explicit_package_bases = options.namespace_packages = True
        options.follow_imports = "silent"
        options.cache_dir = "/dev/null"
        result = build.build(create_source_list([*SOURCES], options), options)
        assert not result.errors, "the code does not type-check: nothing can be said of it"
        self.bodies: dict[str, Body] = {}
        self.classes: dict[str, nodes.TypeInfo] = {}
        self.imports: dict[str, set[str]] = {}
        self._known = result.types
        for name, file in result.files.items():
            if f"{name}.".startswith(OURS):
                self._read_module(name, file)

    def _read_module(self, name: str, file: nodes.MypyFile) -> None:
        self.imports[name] = {
            one.id for one in file.imports if isinstance(one, nodes.ImportFrom)
        } | {
            f"{one.id}.{part}"
            for one in file.imports
            if isinstance(one, nodes.ImportFrom)
            for part, _ in one.names
        }
        self.bodies[name] = top = Body(name, name)
        self._read_block(file.defs, top, name)

    def _read_block(self, block: Iterable[nodes.Statement], top: Body, module: str) -> None:
        for statement in block:
            if isinstance(statement, nodes.ClassDef):
                self.classes[statement.info.fullname] = statement.info
                self._read_block(statement.defs.body, top, module)
            elif isinstance(statement, nodes.FuncDef):
                self._read_function(statement, module)
            elif isinstance(statement, nodes.Decorator):
                for decorator in statement.decorators:
                    Reader(top, self._known).visit(decorator)
                self._read_function(statement.func, module)
            elif isinstance(statement, nodes.OverloadedFuncDef):
                self._read_block(statement.items, top, module)
            elif not isinstance(statement, nodes.ImportBase):
                Reader(top, self._known).visit(statement)

    def _read_function(self, function: nodes.FuncDef, module: str) -> None:
        body = self.bodies.setdefault(function.fullname, Body(function.fullname, module))
        Reader(body, self._known).read(function)

    @cache  # noqa: B019 - there is one, for all tests
    def stand_ins(self, owner: str) -> frozenset[str]:
        """Return the classes whose objects can be where a class or a protocol is asked for."""
        asked = self.classes[owner]
        return frozenset(name for name, info in self.classes.items() if _is_one(info, asked))

    def lookup(self, info: nodes.TypeInfo, member: str) -> str | None:
        """Return the full name of a method as a class has it."""
        for base in info.mro:
            if member in base.names:
                return f"{base.fullname}.{member}"
        return None


Executed = Callable[[str], frozenset[int] | None]
"""Lines of a function that were run, where that is known."""


class Reach:
    """What can come to run.

    Args:
        code: The code.
        roots: Full names of the functions or modules that it begins with.
        executed: Which lines of a function were run; None where that is not known, and all count.
        shut: Functions that are never entered.
        called_by_others: Methods that code of others calls, if there are objects of their class.
        once: What names of functions begin with that run once, and of which `executed` knows.

    Attributes:
        bodies: Full names of functions and modules, with what they were first reached from.
        made: Full names of classes that there can be objects of.
    """

    def __init__(
        self,
        code: Code,
        roots: Iterable[str],
        executed: Executed = lambda _name: None,
        shut: frozenset[str] = frozenset(),
        called_by_others: Collection[str] = (),
        once: tuple[str, ...] = (),
    ) -> None:
        self._code, self._executed, self._shut = code, executed, shut
        self._others, self._once = called_by_others, once
        self._lines: frozenset[int] | None = None
        self._used: set[str] = set()
        self._handed_on: dict[str, list[Reference]] = defaultdict(list)
        self.bodies: dict[str, str] = {}
        self.made: set[str] = set()
        self._members: dict[str, set[str]] = defaultdict(set)
        self._left: list[str] = []
        self._at = ""
        for root in roots:
            self._enter(root)
        while self._left:
            self._at = self._left.pop()
            self._follow(self._at)

    def path(self, name: str) -> list[str]:
        """Return how a body is reached, from the root on."""
        found = [name]
        while self.bodies[found[0]]:
            found.insert(0, self.bodies[found[0]])
        return found

    def references(self, name: str) -> Iterator[Reference]:
        """Yield the references of a body that count."""
        body = self._code.bodies[name]
        lines = self._executed(name)
        for one in body.references:
            if (
                lines is None
                or one.is_deferred
                or any(one.line <= line <= one.end for line in lines)
            ):
                yield one

    def _enter(self, name: str) -> None:
        if name in self._code.bodies and name not in self.bodies and name not in self._shut:
            self.bodies[name] = self._at
            self._left.append(name)
            # What stands in a module's tables may be called by whoever is in the module.
            self._enter(self._code.bodies[name].module)

    def _follow(self, name: str) -> None:
        self._lines = self._executed(name)
        itself, _, method = name.rpartition(".")
        for one in self.references(name):
            if one.given_to in self._code.classes and not self._is_used(one.given_to):
                self._handed_on[one.given_to].append(one)
            elif isinstance(one, Virtual) and method == "__init__" and one.owner.fullname == itself:
                self._call(one.owner, one.member)
            else:
                self._refer(one)

    def _refer(self, one: Reference) -> None:
        if isinstance(one, Virtual):
            self._use(one.owner.fullname)
            self._call(one.owner, one.member)
        elif not isinstance(one, Named):
            return
        elif one.name in self._code.classes:
            self._make(one.name)
        elif not self._was_left_out(one):
            self._enter(one.name)

    def _was_left_out(self, one: Named) -> bool:
        """Whether a call was not made by code that ran once, and for which it is known how."""
        is_known = self._lines is not None and one.is_called and not one.is_deferred
        return is_known and one.name.startswith(self._once) and self._executed(one.name) is None

    def _is_used(self, name: str) -> bool:
        return any(name in self._code.stand_ins(owner) for owner in self._used)

    def _use(self, owner: str) -> None:
        """Note that something is asked of an object: what its constructor was given may run now."""
        if owner in self._used:
            return
        self._used.add(owner)
        for name in self._code.stand_ins(owner) & self._handed_on.keys():
            for one in self._handed_on.pop(name):
                self._refer(one)

    def _call(self, owner: nodes.TypeInfo, member: str) -> None:
        if member in self._members[owner.fullname]:
            return
        self._members[owner.fullname].add(member)
        found = self._code.lookup(owner, member)
        if found is not None:
            self._enter(found)
        for name in self._code.stand_ins(owner.fullname) & self.made:
            self._meet(name, member)

    def _make(self, name: str) -> None:
        if name in self.made:
            return
        self.made.add(name)
        for base in self._code.classes[name].mro:
            for member in base.names:
                if member.startswith("__"):
                    self._enter(f"{base.fullname}.{member}")
        for method in self._others:
            if method.startswith(f"{name}."):
                self._enter(method)
        for owner, members in tuple(self._members.items()):
            if name in self._code.stand_ins(owner):
                for member in tuple(members):
                    self._meet(name, member)

    def _meet(self, name: str, member: str) -> None:
        """Enter a member as a class has it."""
        found = self._code.lookup(self._code.classes[name], member)
        if found is not None:
            self._enter(found)

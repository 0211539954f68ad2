"""Rules of the code that no linter states."""

import ast
from pathlib import Path

from tests.tidy.sources import functions, python_files, read_text, syntax_tree

FUNCTION_LINES_MAX = 70
FILE_LINES_MAX = 500
MONEY_MODULES = ("money", "pricing", "ledger")


def test_functions_fit_on_a_screen() -> None:
    offenders = [
        f"{path}:{function.lineno} {function.name} has {length} lines"
        for path in python_files("worker", "handlers", "infra", "tools", "tests")
        for function in functions(path)
        if (length := (function.end_lineno or 0) - function.lineno + 1) > FUNCTION_LINES_MAX
    ]
    assert not offenders, "\n".join(["split these functions:", *offenders])


def test_files_stay_short_enough_to_read() -> None:
    offenders = [
        f"{path} has {length} lines"
        for path in python_files("worker", "handlers", "infra", "tools", "tests")
        if (length := len(read_text(path).splitlines())) > FILE_LINES_MAX
    ]
    assert not offenders, "\n".join(["split these files:", *offenders])


def test_every_module_says_what_it_is_for() -> None:
    offenders = [
        str(path)
        for path in python_files("worker", "handlers", "infra", "tools")
        if not (ast.get_docstring(syntax_tree(path)) or "").strip()
    ]
    assert not offenders, "\n".join(["these modules lack a docstring:", *offenders])


def money_files() -> list[Path]:
    """List the files whose figures are money: those modules of the core, or packages so named."""
    return [
        path
        for path in python_files("worker")
        if path.parts[:2] == ("worker", "core")
        and (path.stem in MONEY_MODULES or set(path.parts[2:-1]) & set(MONEY_MODULES))
    ]


def makes_a_float(node: ast.AST) -> bool:
    """Tell a float literal or a conversion to float; naming the type to refuse it is fine."""
    if isinstance(node, ast.Constant):
        return isinstance(node.value, float | complex)
    return (
        isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "float"
    )


def test_no_float_is_made_where_money_is_counted() -> None:
    files = money_files()
    assert Path("worker/core/money.py") in files
    offenders = [
        f"{path}:{getattr(node, 'lineno', '?')}"
        for path in files
        for node in ast.walk(syntax_tree(path))
        if makes_a_float(node)
    ]
    assert not offenders, "\n".join(["use int or decimal.Decimal at:", *offenders])

"""The text format: `parse_module` reads it, `print_module` writes it."""

from .lexer import syntax_error_caret
from .module import parse_module
from .print import print_module

__all__ = ["parse_module", "print_module", "syntax_error_caret"]

"""A JUnit document that Ant's schema and Jenkins' (xUnit 10) both take."""

from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

from edgeprune.text import one_line


@dataclass(frozen=True, kw_only=True)
class Suite:
    """One suite of cases; Ant wants every attribute and element of it, and none of its parent.

    Attributes:
        model: Name of the file that was judged.
        target: Name of its target.
        date: ISO 8601, UTC.
        seconds: Wall time of all cases.
        hostname: Name of the machine.
        out: Text beside the cases.
        err: Text of what went wrong.
    """

    model: str
    target: str
    date: str
    seconds: float = 0.0
    hostname: str = "localhost"
    out: str = ""
    err: str = ""

    def document(self, cases: Sequence[ElementTree.Element]) -> str:
        """The suite with its cases, as XML."""
        counted = {"failures": "failure", "errors": "error", "skipped": "skipped"}
        counts = {
            key: str(sum(case.find(tag) is not None for case in cases))
            for key, tag in counted.items()
        }
        head = {
            "name": _token(f"{self.model} on {self.target}"),
            "package": _token(f"edgeprune.{self.target}"),
            "id": "0",
            "tests": str(len(cases)),
            **counts,
            "time": f"{self.seconds:.3f}",
            "timestamp": self.date.removesuffix("+00:00"),
            "hostname": _token(self.hostname),
        }
        root = ElementTree.Element("testsuites")
        suite = ElementTree.SubElement(root, "testsuite", head)
        ElementTree.SubElement(suite, "properties")
        suite.extend(cases)
        for tag, text in (("system-out", self.out), ("system-err", self.err)):
            ElementTree.SubElement(suite, tag).text = _printable(text)
        ElementTree.indent(root)
        declaration = '<?xml version="1.0" encoding="utf-8"?>'
        return f"{declaration}\n{ElementTree.tostring(root, 'unicode')}\n"

    def case(
        self, name: str, seconds: float = 0.0, ending: tuple[str, str, str] | None = None
    ) -> ElementTree.Element:
        """A case that passed, or that holds an ``ending``: tag, message and type."""
        words = {"name": _token(name), "classname": _token(f"edgeprune.{self.target}")}
        case = ElementTree.Element("testcase", words | {"time": f"{seconds:.3f}"})
        if ending:
            tag, message, kind = ending
            said = _printable(message)
            inside = ElementTree.SubElement(case, tag, {"message": said})
            if tag != "skipped":  # which has no more in Ant's schema
                inside.set("type", kind)
                inside.text = said
        return case


def _token(text: str) -> str:
    # A name is never empty and one line.
    return _printable(one_line(text)) or "?"


def _printable(text: str) -> str:
    # XML 1.0 has no way to write most control characters, halves of surrogate pairs and the two
    # characters that are none, and a node's name may hold any.
    return "".join(c if c in "\n\t" or (c >= " " and not _unwritable(c)) else "?" for c in text)


def _unwritable(character: str) -> bool:
    return "\ud800" <= character <= "\udfff" or character in "\ufffe\uffff"

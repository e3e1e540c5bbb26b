"""How a command that was refused must end."""


def refused(result, code, *said):
    """One line on stderr, nothing on stdout, the right code."""
    assert result[0] == code, result
    assert result[1] == ""
    assert result[2].startswith("edgeprune: ")
    assert result[2].count("\n") == 1
    for words in said:
        assert words in result[2]

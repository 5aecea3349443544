import pytest

from app.messages import print_error, print_warning


def test_a_message_is_one_line_whatever_a_file_is_called(capsys: pytest.CaptureFixture[str]) -> None:
    print_error("new\nline\x1b[2J.mp4: no such file")
    print_warning("Straße 散歩.mp4: early\r\n")
    assert capsys.readouterr().err == (
        "error: new\\nline\\x1b[2J.mp4: no such file\nwarning: Straße 散歩.mp4: early\\r\\n\n"
    )

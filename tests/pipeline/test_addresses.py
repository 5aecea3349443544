import pytest

from pipeline.addresses import has_login, host_of, is_address, redacted


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("rtsp://anna:geheim@10.0.0.5:554/live", "rtsp://***@10.0.0.5:554/live"),
        ("rtsp://anna@camera/live", "rtsp://***@camera/live"),
        ("RTSP://anna:geheim@camera", "RTSP://***@camera"),
        ("rtsp:/anna:geheim@camera/typed/wrong", "rtsp:/***@camera/typed/wrong"),
        ("rtsp:///anna:geheim@camera", "rtsp:///***@camera"),
        ("http://anna:ge@he/im@camera/x", "http://***@camera/x"),
        ("http://anna:ge heim@camera/x", "http://***@camera/x"),
        ("http://camera/x?user=anna&pwd=geheim&size=2", "http://camera/x?user=***&pwd=***&size=2"),
        ("http://camera/x?size=2&password=ge%26heim", "http://camera/x?size=2&password=***"),
        ("https://camera/x?api_token=geheim#top", "https://camera/x?api_token=***#top"),
        ("http://camera/x?PWD=geheim", "http://camera/x?PWD=***"),
        ("rtsp://camera/user=anna_password=ge_heim_channel=1.sdp", "rtsp://camera/user=***_password=***_channel=1.sdp"),
    ],
)
def test_what_is_secret_in_an_address_is_hidden(address, shown) -> None:
    assert redacted(address) == shown
    assert redacted(f"{address}: no answer") == f"{shown}: no answer"
    assert redacted(shown) == shown


@pytest.mark.parametrize(
    "text",
    [
        "rtsp://10.0.0.5:554/live",
        "http://camera/authors/users.mjpg?size=2",
        "C:/clips/a@b.mp4: no such file",
        "clips/anna@home.mp4",
        "camera:0@640x480",
        "camera 0 (HD Webcam): no answer yet",
    ],
)
def test_what_holds_no_secret_stays_as_it_is(text) -> None:
    assert redacted(text) == text


def test_addresses_and_paths_are_told_apart() -> None:
    assert is_address("rtsp://camera")
    assert is_address("HTTP://camera")
    assert not is_address("C:/clip.mp4")
    assert not is_address("camera:0")
    assert not is_address("clips/a.mp4")


def test_the_host_of_an_address() -> None:
    assert host_of("rtsp://anna:geheim@Camera:554/live") == "camera"
    assert host_of("http://[::1]:80/x") == "::1"
    assert host_of("rtsp:///live") is None
    assert host_of("rtsp://anna:ge/heim@camera/live") is None
    assert host_of("rtsp://[::1/live") is None


def test_a_login_is_noticed() -> None:
    assert has_login("rtsp://anna:geheim@camera/live")
    assert not has_login("rtsp://camera/live@home")

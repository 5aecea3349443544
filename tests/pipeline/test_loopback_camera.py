import subprocess
import sys

from pipeline.sources import open_source


def test_the_tool_serves_a_clip_until_its_input_is_closed(root, sample_clip) -> None:
    command = [sys.executable, root / "tools" / "loopback_camera.py", sample_clip, "--size", "64x48", "--until-eof"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as camera:
        url = camera.stdout.readline().strip()
        assert url.startswith("http://127.0.0.1:")
        with open_source(url, max_frames=3) as source:
            assert [frame.image.shape for frame in source] == [(48, 64, 3)] * 3
        camera.stdin.close()
        assert camera.wait(60) == 0

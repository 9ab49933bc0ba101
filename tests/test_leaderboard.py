"""scripts/leaderboard.py: which photos, and the table."""

from PIL import Image

from scripts.leaderboard import choose, table


def test_photos_are_spread_evenly_and_linked_once(tmp_path):
    (tmp_path / "data").mkdir()
    for number in range(9):
        Image.new("RGB", (2, 2)).save(tmp_path / "data" / f"{number}.png")
    for _ in range(2):
        chosen = choose(tmp_path / "data", tmp_path / "out", 3)
        links = sorted(chosen.iterdir())
        assert [link.resolve().name for link in links] == ["0.png", "4.png", "8.png"]


def test_the_best_method_comes_first():
    def maps(method, every):
        mean = {"mean": every, "low": every - 0.1, "high": every + 0.1, "photos": 50}
        random = {**mean, "mean": 0.9}
        return {
            "method": method, "means": {"better_than_all": mean, "better_than_random": random}
        }  # fmt: skip

    found = {"one": [maps("gradcam", 0.25), maps("layercam", 0.5)], "two": [maps("gradcam", 0.125)]}
    lines = table(found).splitlines()
    assert lines[0] == "| Method | `one` | `two` |"
    assert lines[2:4] == [
        "| LayerCAM | 50 (40 to 60), 90 | - |",
        "| Grad-CAM | 25 (15 to 35), 90 | 12 (2 to 22), 90 |",
    ]
    assert "50 photographs" in lines[-1]

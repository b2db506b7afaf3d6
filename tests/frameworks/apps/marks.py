"""What background work left behind: each sample application shows it at /marks."""

MARKS: list[str] = []
PIECES = [f"piece {i}, " for i in range(10)]

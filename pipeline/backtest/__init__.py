"""A recording replayed through the real stages in one process, with positions and stops given beforehand."""

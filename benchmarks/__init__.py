"""How fast, as ratios within one run: each figure beside the limit it could reach."""

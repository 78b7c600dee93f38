"""``make dashboards``: write the dashboards' JSON that Grafana is provisioned with."""

from deploy.grafana.boards import FOLDER, render_all


def main() -> None:
    """Write every file anew."""
    FOLDER.mkdir(exist_ok=True)
    for name, text in render_all().items():
        (FOLDER / name).write_text(text)


if __name__ == "__main__":
    main()

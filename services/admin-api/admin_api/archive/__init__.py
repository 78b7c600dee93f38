"""The archive: IMs found and followed, traces, parked messages, completeness, partners told."""

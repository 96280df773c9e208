"""How a run goes: its shards handed to workers by a Prefect flow, its progress shown, its interruption handled."""

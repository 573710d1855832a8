"""Where it rests: PostgreSQL, Redis, migrations."""

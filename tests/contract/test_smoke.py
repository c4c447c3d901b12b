import sqlalchemy as sa
from datastore import Datastore


def test_smoke(store: Datastore) -> None:
    assert store.query("SELECT 1 AS one") == [{"one": 1}]

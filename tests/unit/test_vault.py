from dataclasses import replace
from pathlib import Path

import pytest

from cashup.errors import IntegrityError, StorageError
from cashup.users.vault import Credentials, Place, Vault

KEYS = Credentials("the-api-key", "the-api-secret")
PLACE = Place("user-1", "gate", "account-1")


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    return Vault(tmp_path)


def test_what_is_sealed_opens_at_its_place(vault: Vault, tmp_path: Path) -> None:
    envelope = vault.seal(KEYS, PLACE)
    assert vault.open(envelope, PLACE) == KEYS
    assert Vault(tmp_path).open(envelope, PLACE) == KEYS
    assert b"api" not in envelope.sealed + envelope.wrapped_key
    assert "the-api" not in repr(KEYS)


@pytest.mark.parametrize("part", ["sealed", "wrapped_key"])
def test_every_flipped_byte_is_refused(vault: Vault, part: str) -> None:
    envelope = vault.seal(KEYS, PLACE)
    stored = getattr(envelope, part)
    for position in range(len(stored)):
        changed = bytearray(stored)
        changed[position] ^= 1
        with pytest.raises(IntegrityError):
            vault.open(replace(envelope, **{part: bytes(changed)}), PLACE)


@pytest.mark.parametrize("cut", [0, 1, 11, 12, 27])
def test_a_truncated_record_is_refused(vault: Vault, cut: int) -> None:
    envelope = vault.seal(KEYS, PLACE)
    with pytest.raises(IntegrityError):
        vault.open(replace(envelope, sealed=envelope.sealed[:cut]), PLACE)


@pytest.mark.parametrize("field", ["user", "exchange", "account"])
def test_a_record_does_not_open_in_another_place(vault: Vault, field: str) -> None:
    envelope = vault.seal(KEYS, PLACE)
    with pytest.raises(IntegrityError, match="changed or moved"):
        vault.open(envelope, replace(PLACE, **{field: "other"}))


def test_the_parts_of_two_records_do_not_mix(vault: Vault) -> None:
    one, other = vault.seal(KEYS, PLACE), vault.seal(Credentials("other", "other"), PLACE)
    with pytest.raises(IntegrityError):
        vault.open(replace(one, sealed=other.sealed), PLACE)
    with pytest.raises(IntegrityError):
        vault.open(replace(one, sealed=one.wrapped_key, wrapped_key=one.sealed), PLACE)
    assert PLACE.bind(1, "key") != PLACE.bind(1, "secret") != PLACE.bind(2, "secret")


def test_another_key_file_says_so(vault: Vault, tmp_path: Path) -> None:
    envelope = vault.seal(KEYS, PLACE)
    with pytest.raises(IntegrityError, match="another key file"):
        Vault(tmp_path / "elsewhere").open(envelope, PLACE)
    with pytest.raises(IntegrityError):
        vault.open(replace(envelope, version=2), PLACE)


def test_key_files_are_for_their_owner_alone(vault: Vault, tmp_path: Path) -> None:
    path = tmp_path / "keys" / "kek"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    path.chmod(0o644)
    with pytest.raises(StorageError, match="chmod 600"):
        Vault(tmp_path)
    path.chmod(0o600)
    path.write_bytes(b"short")
    with pytest.raises(StorageError, match="32 bytes"):
        Vault(tmp_path)
    path.parent.chmod(0o755)
    with pytest.raises(StorageError, match="chmod 700"):
        Vault(tmp_path)

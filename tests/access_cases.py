"""People and settings for tests: hashes that cost little, one person of each role."""

from msc_vision.service.access import ROLES, Access, AccessSettings, HashingSettings

QUICK = HashingSettings(time_cost=1, memory_kib=8, parallelism=1)
PASSWORD = "plastic adherent cells"


def quick_settings(**changes):
    """Return settings for tests."""
    return AccessSettings(**{"hashing": QUICK, **changes})


def access_with_people(store, **changes):
    """Return access to a store with a person of each role, called by the role."""
    access = Access(store, quick_settings(**changes))
    for role in ROLES:
        access.add_person(role, f"Dr {role.title()}", [role], PASSWORD, by="command line")
    return access

# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""An Optuna storage that commands on several machines use at once."""

from __future__ import annotations

import functools
import re
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import filelock

from mmvpt.errors import MissingPackageError

try:
    import optuna
    import sqlalchemy
    from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
except ImportError as error:
    message = "searches need Optuna: pip install 'optuna>=4.9'"
    raise MissingPackageError(message) from error


from .settings import StorageError

_LOST = (
    optuna.exceptions.StorageInternalError,
    sqlalchemy.exc.SQLAlchemyError,
    OSError,
)
#: Seconds between attempts to reach the storage; together well below the grace.
PAUSES = (1.0, 2.0, 4.0, 8.0)
_DRIVERS = dict(postgresql='psycopg2-binary', mysql='pymysql')

Result = TypeVar('Result')


class Storage:
    """A database of searches.

    What changes trials runs through :meth:`attempt`, under a lock that one command has
    at a time and that ends with it: of a file beside an SQLite database, of a row of
    any other. So no two commands enqueue a round, and nothing that was given up counts.

    Args:
        url: ``sqlite:///PATH``, or what SQLAlchemy understands for a server.
        beat: Seconds between signs of life of a running trial.
        grace: Seconds without one after which a trial is given up.

    Raises:
        StorageError: If it cannot be reached.
    """

    def __init__(self, url: str, beat: int = 10, grace: int = 60) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.url, self.beat = url, beat
        self._lock: filelock.FileLock | None = None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter('ignore', optuna.exceptions.ExperimentalWarning)
                retry = RetryHeartbeatStaleTrialCallback()
                self.backend = self._open(
                    heartbeat_interval=beat,
                    grace_period=grace,
                    heartbeat_stale_trial_callback=retry,
                )
        except (*_LOST, ImportError) as error:
            raise self._worded(error) from error

    @classmethod
    @functools.lru_cache
    def at(cls, url: str) -> Storage:
        """Return the storage of this process at an address."""
        return cls(url)

    @property
    def name(self) -> str:
        """The address without its password."""
        return re.sub(r'(://[^:/@]*:)[^@]*@', r'\1***@', self.url)

    def _open(self, **about: Any) -> RDBStorage:
        address = sqlalchemy.make_url(self.url)
        if address.get_backend_name() == 'sqlite':
            path = Path(address.database or '').expanduser()
            path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = filelock.FileLock(f'{path}.lock', timeout=60)
            with self._lock:
                return RDBStorage(self.url, {'connect_args': {'timeout': 60}}, **about)
        try:
            return RDBStorage(self.url, {'pool_pre_ping': True}, **about)
        except (sqlalchemy.exc.IntegrityError, sqlalchemy.exc.ProgrammingError):
            time.sleep(1)  # another command creates the tables at this moment
            return RDBStorage(self.url, {'pool_pre_ping': True}, **about)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        if self._lock is not None:
            with self._lock:
                yield
            return
        with self.backend.engine.begin() as connection:
            # the one row of every such database that Optuna never locks itself
            query = 'SELECT version_info_id FROM version_info FOR UPDATE'
            connection.execute(sqlalchemy.text(query))
            yield

    def attempt(self, action: Callable[..., Result], *args: Any) -> Result:
        """Do something under the lock; again and again if the storage is lost.

        A database may be restarting. What is done again may have happened already,
        unheard, so ``action`` must bear that.

        Raises:
            StorageError: If the storage stays out of reach.
        """
        for pause in (*PAUSES, None):
            try:
                with self._locked():
                    return action(*args)
            except _LOST as error:
                if pause is None or _is_full(_reason(error)):
                    raise self._worded(error) from error
                time.sleep(pause)
        raise AssertionError('unreachable')

    def _worded(self, error: BaseException) -> StorageError:
        reason = _reason(error)
        if _is_full(reason):
            return StorageError(
                f'the disk of {self.name} is full. Make room and run the command '
                'again; what is finished is kept.'
            )
        kind = re.match(r'[a-z]*', self.url).group()
        if isinstance(error, ImportError) and kind in _DRIVERS:
            reason = f'{reason} Install a driver: pip install {_DRIVERS[kind]}.'
        return StorageError(
            f'cannot use the storage {self.name}: {reason.splitlines()[0]} Check the '
            'address and that it may be written; a file is given as '
            '--storage sqlite:///work_dirs/search.db'
        )


def _reason(error: BaseException) -> str:
    cause = error.__cause__ or error
    return str(getattr(cause, 'orig', None) or cause).strip() or type(cause).__name__


def _is_full(reason: str) -> bool:
    return 'disk is full' in reason or 'No space left' in reason

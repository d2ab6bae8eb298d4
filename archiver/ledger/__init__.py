"""The ledger: what is known, said first. Everything that speaks SQL is in this package."""

from archiver.ledger.store import Ledger, Transaction

__all__ = ["Ledger", "Transaction"]

"""Which endpoint serves which marketplace. Read 2026-11-22: developer-docs.amazon.com/sp-api/docs, marketplace-ids and
sp-api-endpoints."""

from shared.ports import Account

DEFAULT_MARKETPLACE = "ATVPDKIKX0DER"
LOGIN = "https://api.amazon.com"
ENDPOINTS = {
    "na": "https://sellingpartnerapi-na.amazon.com",
    "eu": "https://sellingpartnerapi-eu.amazon.com",
    "fe": "https://sellingpartnerapi-fe.amazon.com",
}
_MARKETPLACES = {
    "na": "A2EUQ1WTGCTBG2 ATVPDKIKX0DER A1AM78C64UM0Y8 A2Q3Y263D00KWC",
    "eu": "A28R8C7NBKEWEA A1RKKUPIHCS9HS A1F83G8C2ARO7P A13V1IB3VIYZZH AMEN7PMS3EDWL A1805IZSGTT6HS A1PA6795UKMFR9 "
    "APJ6JRA9NG5V4 A2NODRKZP88ZB9 AE08WJ6YKNBMC A1C3SOZRARQ6R3 ARBP9OOSHTCHU A33AVAJ2PDY3EV A17E79C6D8DWNP "
    "A2VIGQ35RCS4UG A21TJRUUN4KGV",
    "fe": "A19VAU5U5O7RUS A39IBJ37TRP1C6 A1VC38T7YXB528",
}
REGION_OF = {id_: region for region, ids in _MARKETPLACES.items() for id_ in ids.split()}


def marketplace_of(account: Account) -> str:
    return str(account.settings.get("marketplace_id") or DEFAULT_MARKETPLACE)


def endpoint_of(account: Account) -> str:
    """Without a trailing slash. A marketplace that is not listed and no `region`: North America."""
    if account.base_url:
        return account.base_url.rstrip("/")
    told = str(account.settings.get("region") or "").lower()
    return ENDPOINTS.get(told) or ENDPOINTS[REGION_OF.get(marketplace_of(account), "na")]


def login_of(account: Account) -> str:
    return (account.base_url or LOGIN).rstrip("/") + "/auth/o2/token"

"""ccxt's client of Bybit, whose refusals come as they are."""

from typing import Any

import ccxt.async_support as ccxt


class Answer(Exception):
    """An HTTP answer that is no good, before it is known what it means."""

    def __init__(self, status: int, code: str, message: str, headers: dict[str, str]) -> None:
        super().__init__(f"HTTP {status}, retCode {code or '-'}: {message[:120]}")
        self.status = status
        self.code = code
        self.headers = headers


class BybitClient(ccxt.bybit):  # type: ignore[misc]
    """ccxt's client with Bybit's refusals told apart: ccxt maps 403, 429 and 10016 to unlike classes."""

    @staticmethod
    def rawencode(
        params: Any = None, sort: bool = False
    ) -> str:  # ccxt's hook, which leaves 币安人生 as it is
        return str(ccxt.bybit.urlencode(params or {}))

    def handle_errors(  # ccxt's hook
        self,
        httpCode: int,
        reason: str,
        url: str,
        method: str,
        headers: Any,
        body: str,
        response: Any,
        *_: Any,
    ) -> None:
        code = str(response.get("retCode", "")) if isinstance(response, dict) else ""
        if httpCode != 200 or code != "0":
            text = response.get("retMsg", "") if isinstance(response, dict) else (reason or "no JSON")
            lower = {str(name).lower(): str(value) for name, value in (headers or {}).items()}
            raise Answer(httpCode, code, str(text), lower)

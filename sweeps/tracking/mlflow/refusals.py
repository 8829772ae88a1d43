"""The meaning of a failed request: the server refuses it for good, or may accept it later."""

import re
from collections.abc import Callable
from http.client import responses
from typing import Any

import requests
from mlflow.exceptions import MlflowException
from mlflow.utils import rest_utils

from rrm.errors import first_line
from sweeps.tracking.secrets import blank_secrets

# 401 refuses no single request: with other credentials the server takes all of them.
LATER = {401, 408, 425, 429}
NOT_IMPLEMENTED = 501
UNAVAILABLE = {429, 502, 503, 504}
TOO_LARGE = 413
DIVISIBLE = {400, TOO_LARGE, 422}  # a part of what was sent may be taken
REFUSED_STATES = {"INVALID_STATE"}  # error code of a refusal, to which MLflow gives the status of a server failure
GIVEN_UP = re.compile(r"too many (\d{3}) error responses")  # text of requests for a 5xx that it does not try again


class Refused(Exception):
    """The server does not take a request, now or later."""


def _keep_status(verify: Callable[..., Any]) -> Callable[..., Any]:
    """MLflow's check of an answer, with the HTTP status as `status` of its exception.

    MLflow drops the status of an answer that another program gave, such as a proxy.
    """

    def verified(response: requests.Response, *given: Any, **named: Any) -> Any:
        try:
            return verify(response, *given, **named)
        except MlflowException as error:
            error.status = response.status_code  # type: ignore[attr-defined]
            raise

    return verified


rest_utils.verify_rest_response = _keep_status(rest_utils.verify_rest_response)


def find_status(error: BaseException) -> int | None:
    """The HTTP status of a failed request, or the one that MLflow's error would have; None if no server answered."""
    status = _answered_status(error)
    if status is not None or not isinstance(error, MlflowException):
        return status
    return _assumed_status(error)


def _answered_status(error: BaseException) -> int | None:
    """The HTTP status with which a server answered; None where none did."""
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return int(error.response.status_code)
    if not isinstance(error, MlflowException):
        return None
    match = GIVEN_UP.search(str(error))
    return int(match[1]) if match else getattr(error, "status", None)


def _assumed_status(error: MlflowException) -> int:
    return int(error.get_http_status_code())  # type: ignore[no-untyped-call]


def is_refused(error: BaseException) -> bool:
    """Whether the same request would be refused again."""
    if isinstance(error, Refused) or getattr(error, "error_code", None) in REFUSED_STATES:
        return True
    status = find_status(error)
    return status is not None and ((400 <= status < 500 and status not in LATER) or status == NOT_IMPLEMENTED)


def is_divisible(error: BaseException) -> bool:
    """Whether a part of a refused request may be taken alone."""
    return find_status(error) in DIVISIBLE


def is_transient(error: BaseException) -> bool:
    """Whether a request for something optional is worth another try soon: no server answered, or a server was busy."""
    status = _answered_status(error)
    if status is not None:
        return status in UNAVAILABLE
    if isinstance(error, MlflowException):
        return _assumed_status(error) >= 500
    return isinstance(error, ConnectionError | TimeoutError | requests.RequestException)


def describe_error(error: BaseException) -> str:
    """An error in one line, without secrets: the HTTP status where a server answered, and the text of MLflow."""
    status = _answered_status(error)
    text = first_line(error, blank_secrets)
    if status is not None:
        words = f": {text}" if "error_code" in getattr(error, "json", {}) else ""
        text = f"HTTP {status} {responses.get(status, '')}".rstrip() + words
    elif not isinstance(error, Refused):
        text = f"{type(error).__name__}: {text}"
    return text

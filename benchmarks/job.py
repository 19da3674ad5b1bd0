"""What a client is to do; imports nothing that a client would not."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field


@dataclass(frozen=True)
class Job:
    """One extraction.

    :param zoom_url: the simulator.
    :param s3_url: the S3 server.
    :param bucket: where to.
    :param prefix: of the keys to write.
    :param start: first day, ``yyyy-MM-ddTHH:mm:ssZ``.
    :param end: the instant after the last, likewise.
    :param requests_per_second: the rate limit in the provider's connection.
    :param options: arguments of one client only.
    """

    zoom_url: str
    s3_url: str
    bucket: str
    prefix: str
    start: str
    end: str
    requests_per_second: float = 1_000.0
    options: dict[str, int] = field(default_factory=dict)

    client_id = "simulated-client"
    client_secret = "simulated-secret"
    account_id = "simulated-account"
    aws_key = "simulated"

    def dumps(self) -> str:
        """Write the job."""
        return json.dumps(asdict(self))

    @classmethod
    def loads(cls, text: str) -> Job:
        """Read a job."""
        return cls(**json.loads(text))

    @property
    def endpoint(self) -> str:
        """URL of "List engagements"."""
        return f"{self.zoom_url}/v2/contact_center/engagements"

    @property
    def query(self) -> dict[str, str]:
        """Parameters of the first page, as somebody who writes them by hand would."""
        return {"page_size": "100", "timezone": "UTC", "from": self.start, "to": self.end}

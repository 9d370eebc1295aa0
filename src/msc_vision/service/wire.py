"""How the service meets the wire: a quick HTTP parser that never gathers endless headers; a collector that waits."""

import gc

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_YOUNG, _MIDDLE, _OLD = 3_000, 20, 50
_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


def bounded_http(header_bytes: int) -> type[HttpToolsProtocol]:
    """Return the HTTP protocol of a server that closes connections whose headers go on for too long.

    Parameters
    ----------
    header_bytes : int
        That a request may send before its headers are complete; the edge answers those that are complete but too large.
    """

    class BoundedHttp(HttpToolsProtocol):
        """As uvicorn's, with an end to headers."""

        is_in_headers = True
        n_waiting_bytes = 0

        def on_message_begin(self) -> None:
            self.is_in_headers, self.n_waiting_bytes = True, 0
            super().on_message_begin()

        def on_headers_complete(self) -> None:
            self.is_in_headers, self.n_waiting_bytes = False, 0
            super().on_headers_complete()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.is_in_headers:
                self.n_waiting_bytes += len(data)
            if self.n_waiting_bytes > header_bytes and not self.transport.is_closing():
                self.transport.write(_TOO_LARGE)
                self.transport.close()

        def on_message_complete(self) -> None:
            super().on_message_complete()
            self.is_in_headers = True

    return BoundedHttp


def collect_rarely() -> None:
    """Let the garbage collector leave alone what lives as long as the process, and pause for milliseconds only.

    As Python sets it, it looks through all modules whenever enough requests have passed, and every answer waits for it.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG, _MIDDLE, _OLD)

"""One mail on its way to the mail server."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from gateway.letters import Refused
from gateway.mails import MailTarget, mail_of
from gateway.policy_notices import NoticeKind, Tls
from gateway.records import StoredLetter
from gateway.times import now

if TYPE_CHECKING:
    from aiosmtplib import SMTPException

_LONGEST_ERROR: Final = 200
_FOR_GOOD: Final = 500  # from this reply code on SMTP says: do not come again


async def send_mail(target: MailTarget, letter: StoredLetter) -> Refused | None:
    """Send a letter as a mail; None if the server took it. Without the encryption that the policy wants nothing is sent."""
    import aiosmtplib  # noqa: PLC0415  # only who has a mail server needs it

    message = mail_of(target, letter.id, NoticeKind(letter.type), letter.body, now())
    try:
        async with asyncio.timeout(target.timeout):
            await aiosmtplib.send(
                message,
                sender=target.sender,
                recipients=[target.name],
                hostname=target.host,
                port=target.port,
                username=target.user,
                password=target.password,
                use_tls=target.tls is Tls.TLS,
                start_tls=target.tls is Tls.STARTTLS,
                timeout=target.timeout,
            )
    except TimeoutError:
        return Refused(f"no answer within {target.timeout:g} s")
    except aiosmtplib.SMTPException as error:
        return _refused(error)
    except OSError as error:
        return Refused(f"{type(error).__name__}: {error}"[:_LONGEST_ERROR])
    return None


def _refused(error: SMTPException) -> Refused:
    """Who says that an address is none is not asked again; a server that refuses all may be mended."""
    from aiosmtplib import SMTPRecipientsRefused  # noqa: PLC0415  # as above

    if isinstance(error, SMTPRecipientsRefused):
        codes = [one.code for one in error.recipients]
        return Refused(f"the address is refused: {codes}", for_good=all(code >= _FOR_GOOD for code in codes))
    words = f"{type(error).__name__}: {error}"
    return Refused(words[:_LONGEST_ERROR])

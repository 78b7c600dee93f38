"""``python -m deploy.local demo | up | down``: the stack on this machine."""

import signal

signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C in the second of the imports: nothing has begun

from deploy.local.commands import main  # noqa: E402 - see above

main()

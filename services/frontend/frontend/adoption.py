"""Adoption: a front end that runs takes over the spool and the agents of one that doesn't come back."""

import logging

from frontend.numbering import Numbering, forget_agents, read_agents
from frontend.slot import Slot, abandoned_slots
from frontend.spool import Spool, SpoolError

log = logging.getLogger("frontend")


async def adopt_abandoned(mine: Slot, spool: Spool, numbering: Numbering) -> None:
    """Move what is in slots that nobody has into ours; what fails is tried again the next time."""
    with abandoned_slots(mine) as slots:
        for slot in slots:
            try:
                ims = await spool.adopt(slot.folder)
                numbering.adopt(read_agents(slot.folder))
                forget_agents(slot.folder)
            except (SpoolError, OSError) as error:
                log.error("a slot can't be adopted", extra={"slot": slot.folder.name, "error": str(error)})
                continue
            if ims:
                log.info("adopted a spool", extra={"slot": slot.folder.name, "ims": ims})

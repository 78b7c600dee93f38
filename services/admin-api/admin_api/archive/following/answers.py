"""IMs as a follower reads them."""

from pydantic import BaseModel, Field

from admin_api.archive.messages.answers import Message


class Changes(BaseModel):
    """IMs in the order in which they were committed."""

    messages: list[Message]
    next: str = Field(description="The `after` to go on from, now or when more has come")
    more: bool = Field(description="Whether there is more already")

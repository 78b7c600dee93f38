"""Conversations, searched for by the key that an answer has or by the key that a connector uses."""

from typing import Self

from pydantic import BaseModel, Field, model_validator

from admin_api.http.fields import ConnectorName, Text
from contract.conversation import conversation_key, filed_key


def keys_of_conversation(key: str, connector: str | None) -> list[str]:
    """Return a conversation's keys: the connector's own, and the bare one of before there were such."""
    return [filed_key(key)] if connector is None else [conversation_key(connector, key), filed_key(key)]


class ConversationFilter(BaseModel):
    """A search for one conversation."""

    conversation: Text | None = Field(None, description="Its key, as answers show it; or see `connector`")
    connector: ConnectorName | None = Field(
        None,
        description="The connector whose own key `conversation` is. Found is what was filed for it, and, of"
        " the time before connectors had keys of their own, under the key alone",
        examples=["edge"],
    )

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if self.connector is not None and self.conversation is None:
            raise ValueError("connector says whose key conversation is: give both")
        return self

    @property
    def keys(self) -> list[str]:
        """Return the keys under which the conversation may be filed; none if none was asked for."""
        return [] if self.conversation is None else keys_of_conversation(self.conversation, self.connector)

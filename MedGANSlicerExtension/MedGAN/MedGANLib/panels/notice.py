"""New versions that serve since the clinician last looked, whoever trained them."""

from __future__ import annotations

from ..servings import NewVersion
from ..workflow import State
from .look import frame_style, put_text, safe
from .shared import Shared


class NoticePanel:
    """A frame below the status, until it is dismissed."""

    def __init__(self, shared: Shared) -> None:
        self._ui = shared.ui
        self._ui.noticeFrame.styleSheet = frame_style("noticeFrame", "success")
        self._ui.dismissButton.connect("clicked()", shared.workflow.dismiss_news)

    def show(self, state: State) -> None:
        """Draws the news, one line a model."""
        put_text(self._ui.noticeLabel, "<br>".join(news_text(item) for item in state.news))
        self._ui.noticeFrame.setVisible(bool(state.news))


def news_text(item: NewVersion) -> str:
    """Returns a piece of news as rich text."""
    why = f": {safe(item.reason)}" if item.reason else "."
    return f"<b>{safe(item.model)} {safe(item.version)} serves now</b>{why}"

"""The way of the Tab key through what a panel draws later than MedGAN.ui."""

from __future__ import annotations

from typing import Any

import qt


def tab_through(before: Any, frame: Any) -> None:
    """Lets Tab go from a widget through all that is in a frame; else it would come there last of all.

    Args:
        before: The widget that has the focus before, and takes it.
        frame: Holds the widgets, in the order in which they were made.
    """
    for child in frame.findChildren(qt.QWidget):
        inside = child.window() == frame.window()  # a combo box's list is a window of its own
        if inside and takes_tab(child) and child.focusProxy() is None:
            qt.QWidget.setTabOrder(before, child)
            before = child


def stop_before(widget: Any) -> Any:
    """Returns the widget from which Tab goes to another one."""
    earlier = widget.previousInFocusChain()
    while earlier != widget and not takes_tab(earlier):
        earlier = earlier.previousInFocusChain()
    return earlier


def takes_tab(widget: Any) -> bool:
    """Whether a widget can be reached by Tab."""
    return bool(int(widget.focusPolicy) & int(qt.Qt.TabFocus))

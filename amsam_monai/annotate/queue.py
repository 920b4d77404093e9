"""How many actions of browsers may run or wait; one more is told to come again."""

from __future__ import annotations

from typing import Any

from amsam_monai.annotate.tabs import MAX_TABS

OF_A_TAB = 16  # a click is three events, and a slider that moves is several
PLACES = MAX_TABS * OF_A_TAB
THREADS = PLACES + 32  # so that actions which wait for their tab hold up nobody else's, and files are handed out
UNREAD = 200  # answers that a browser has not fetched


def bound_queue(page: Any, *, places: int = PLACES, of_a_tab: int = OF_A_TAB, unread: int = UNREAD) -> None:
    """Refuse actions (429) of a page that has as many as it may, before they are read.

    Args:
        page: gradio.Blocks, whose queue is made.
        places: actions of all tabs that run or wait.
        of_a_tab: those of one tab.
        unread: answers that wait for one tab to fetch them.
    """
    queue = page._queue
    push = queue.push

    async def bounded(body: Any, request: Any, username: str | None) -> Any:
        from fastapi import HTTPException

        tab, going = body.session_hash, list(queue.event_ids_to_events.values())
        problem = ""
        if len(going) >= places:
            problem = f"{places} actions run or wait already"
        elif sum(event.session_hash == tab for event in going) >= of_a_tab:
            problem = f"{of_a_tab} actions of this tab run or wait already"
        elif tab in queue.pending_messages_per_session and queue.pending_messages_per_session[tab].qsize() >= unread:
            problem = f"{unread} answers wait for this tab to fetch them"
        if problem:
            raise HTTPException(429, f"{problem}; try again in a moment.", headers={"Retry-After": "1"})
        return await push(body, request, username)

    queue.push = bounded

"""Objects for people: tables, drawings, text. Loaded when something is shown, not before.

Division of labour: `bundles` chooses what an object is shown as; `table` writes HTML; `drawing` is what `NetworkController.draw` returns;
`shapes` says what is drawn, `layout` where, `svg` writes it; `wording` puts numbers and records into words; `graph` hands a topology to
networkx. Everything is made from values (a `Scene`, a plan, a report): nothing here asks the kernel or waits for anybody.
No JavaScript, no style sheet, no ids: several pictures on one page do not disturb each other. Every text is escaped.

May import: scene, lifecycle's values, network, endpoint, sandbox, facts, types.
"""

from .bundles import bundle
from .drawing import Drawing

__all__ = ["Drawing", "bundle"]

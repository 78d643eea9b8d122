// Fills the workbench when JupyterLab opens: runs the marked cells of the one notebook the server was started on.
//
// The security boundary. Opening a notebook must not run it. Three things have to come together here, and a file
// or a link can bring about none of them:
// - `sc-lab open` (and `make lab`, which calls it) names this folder on JupyterLab's command line; nothing installs
//   it, so no other JupyterLab loads this script;
// - path and text of the cells come from that command line, by way of the server's page, never from the address;
// - a cell runs only if it is marked `"sc_lab": {"run_on_open": true}` *and* its text is one that was told, in a
//   kernel that has run nothing yet: a changed cell, another notebook or a reload waits for the user as ever.
//
// JupyterLab wants a module-federation container: {init, get}. Written by hand, it needs no bundler.
window._JUPYTERLAB = window._JUPYTERLAB || {};
window._JUPYTERLAB["sc-lab-launch"] = (() => {
  const warn = (reason) => console.warn("SC Lab: the workbench was not run on opening:", reason);

  // Read at once, before anything that a notebook shows is on the page.
  const told = (() => {
    try {
      const text = JSON.parse(document.getElementById("jupyter-config-data").textContent).scLabLaunch;
      return text ? JSON.parse(text) : null;
    } catch (error) {
      warn(error);
      return null;
    }
  })();

  let scope = {};
  const shared = async (name) => {
    const versions = Object.values(scope[name] ?? {});
    const version = versions.find((v) => v.loaded) ?? versions[0];
    return (await version.get())();
  };

  const panelAt = (tracker, path) =>
    new Promise((resolve) => {
      const look = (_, panel) => {
        if ((panel.context.localPath ?? panel.context.path) !== path) return;
        tracker.widgetAdded.disconnect(look);
        resolve(panel);
      };
      tracker.widgetAdded.connect(look);
      tracker.forEach((panel) => look(tracker, panel));
    });

  // A page that is reloaded, or a second one, finds the kernel at work; its widgets are not to be made again.
  const isFresh = async (kernel) => {
    await kernel.info;
    const reply = await kernel.requestExecute({ code: "", silent: true, store_history: false }).done;
    return reply.content.status === "ok" && !(reply.content.execution_count > 0);
  };

  const runMarked = async (app, tracker, actions) => {
    await app.restored; // every extension is active, ipywidgets' too
    const panel = await panelAt(tracker, told.path);
    await panel.revealed;
    await panel.sessionContext.ready;
    const kernel = panel.sessionContext.session?.kernel;
    if (!kernel) return warn("the notebook has no kernel");
    if (!(await isFresh(kernel))) return;
    const notebook = panel.content;
    const cells = notebook.widgets.filter(
      (cell) =>
        cell.model.type === "code" &&
        cell.model.getMetadata("sc_lab")?.run_on_open === true &&
        told.cells.includes(cell.model.sharedModel.getSource()),
    );
    if (!cells.length) return warn("no marked cell is as it was when the server started; run it by hand");
    for (const cell of cells) {
      if (panel.isDisposed) return;
      let done;
      if (actions.runCells) {
        done = await actions.runCells(notebook, [cell], panel.sessionContext);
      } else {
        // JupyterLab before 4.2
        notebook.deselectAll();
        notebook.activeCellIndex = notebook.widgets.indexOf(cell);
        done = await actions.run(notebook, panel.sessionContext);
      }
      if (!done) return; // the cell shows its error
    }
  };

  const extension = async () => {
    if (!told) return [];
    const { INotebookTracker, NotebookActions } = await shared("@jupyterlab/notebook");
    return {
      id: "sc-lab-launch:run-on-open",
      description: "Runs the marked cells of the notebook that the server was started on.",
      autoStart: true,
      optional: [INotebookTracker],
      activate: (app, tracker) => {
        if (tracker) runMarked(app, tracker, NotebookActions).catch(warn); // not awaited: Lab goes on starting
      },
    };
  };

  return {
    init: (shareScope) => {
      scope = shareScope;
    },
    // Whatever fails here, Lab starts as it would without us.
    get: async () => {
      let plugin = [];
      try {
        plugin = await extension();
      } catch (error) {
        warn(error);
      }
      return () => ({ __esModule: true, default: plugin });
    },
  };
})();

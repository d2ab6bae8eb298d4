// JupyterLab's form of an extension, written by hand: it needs none of the lab's modules, only its command for notices.
(() => {
  const LOOK_MS = 60_000;

  const activate = (app) => {
    const base = JSON.parse(document.getElementById("jupyter-config-data").textContent).baseUrl;
    let told = "";
    const look = async () => {
      let warning = told; // a server that does not answer says nothing new
      try {
        const token = /\b_xsrf=([^;]*)/.exec(document.cookie)?.[1] ?? ""; // the hub wants it with what is not a page
        const answer = await fetch(`${base}neve/room`, { credentials: "same-origin", headers: { "X-XSRFToken": token } });
        if (answer.ok) warning = (await answer.json()).warning;
      } catch (error) {
        console.debug("neve-room:", error);
      }
      // The numbers change all the time: a notice comes when there was none, and again an hour later.
      if (warning && !told) {
        app.commands.execute("apputils:notify", { message: warning, type: "warning", options: { autoClose: false } });
        setTimeout(() => { told = ""; }, 3_600_000);
      }
      told = warning;
      setTimeout(look, LOOK_MS);
    };
    app.restored.then(look);
  };

  window._JUPYTERLAB = window._JUPYTERLAB || {};
  window._JUPYTERLAB["neve-room"] = {
    init: async () => {},
    get: async () => () => ({ __esModule: true, default: { id: "neve-room:plugin", autoStart: true, activate } }),
  };
})();

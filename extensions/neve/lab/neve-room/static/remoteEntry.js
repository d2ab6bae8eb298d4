// JupyterLab's form of an extension, written by hand: it needs none of the lab's modules, only its command for notices.
(() => {
  const LOOK_MS = 60_000;
  const MORE = "neve-room:more";
  const SHOWN = 140; // characters of a notice that the lab shows

  // The sentences that fit; the hub's home page says all.
  const shortly = (warning) => {
    const ends = [...warning.matchAll(/[.!] /g)].map((found) => found.index + 1);
    return warning.length <= SHOWN ? warning : warning.slice(0, ends.filter((end) => end <= SHOWN).pop());
  };

  const activate = (app) => {
    const { baseUrl: base, hubPrefix } = JSON.parse(document.getElementById("jupyter-config-data").textContent);
    app.commands.addCommand(MORE, { label: "Read the rest", execute: () => window.open(`${hubPrefix}home`, "_blank", "noopener") });
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
        const message = shortly(warning);
        const actions = message === warning ? [] : [{ label: "Read the rest", commandId: MORE, displayType: "link" }];
        app.commands.execute("apputils:notify", { message, type: "warning", options: { autoClose: false, actions } });
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

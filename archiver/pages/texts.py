"""What stands on pages that speak the reader's language: one table, the first that the browser asks for of those that it has.

Law: a text is a plain sentence, never markup. `{name}` stands for a value; where a number decides, `one|other` (French counts 0 as one).
The page's script is given the same texts, so that none stands in it.
"""

from __future__ import annotations

import re

_PREFERENCE = re.compile(r"\s*([A-Za-z]{1,8})(?:-[A-Za-z0-9-]+)?\s*(?:;\s*q=\s*([01](?:\.\d{0,3})?)\s*)?")

LANGUAGES = ("en", "fr")

TEXTS: dict[str, tuple[str, str]] = {
    # around every page
    "skip": ("Skip to the content", "Aller au contenu"),
    "main": ("Main", "Navigation principale"),
    "crumbs": ("Where you are", "Où vous êtes"),
    "datasets": ("Datasets", "Jeux de données"),
    "browse": ("Browse", "Parcourir"),
    "browse_needs_script": (
        "This page needs JavaScript. The list of datasets does without.",
        "Cette page a besoin de JavaScript. La liste des jeux de données s’en passe.",
    ),
    "add": ("Add data", "Ajouter des données"),
    "me": ("Me", "Moi"),
    "signed_in": ("Signed in", "Connecté"),
    "sign_out": ("Sign out", "Se déconnecter"),
    # before anything is sent
    "lead": (
        "Files from this computer, or from a stick or disk in it, become a dataset of one of your projects.",
        "Des fichiers de cet ordinateur, d’une clé ou d’un disque, deviennent un jeu de données d’un de vos projets.",
    ),
    "no_project": ("You are in no project yet.", "Vous n’êtes encore dans aucun projet."),
    "no_project_next": (
        "Ask an admin of the hub to add you to your project’s group.",
        "Demandez à un administrateur du hub de vous ajouter au groupe de votre projet.",
    ),
    "no_instrument": ("No instrument is known yet.", "Aucun instrument n’est encore connu."),
    "no_instrument_next": (
        "Ask an admin to add the one that the data comes from.",
        "Demandez à un administrateur d’ajouter celui dont viennent les données.",
    ),
    "no_script": (
        "This page needs JavaScript. Without it, “neve send” on a command line does the same.",
        "Cette page a besoin de JavaScript. Sans lui, « neve send » en ligne de commande fait la même chose.",
    ),
    "where": ("Where it belongs", "Où le ranger"),
    "project": ("Project", "Projet"),
    "instrument": ("Instrument", "Instrument"),
    "dataset": ("Dataset", "Jeu de données"),
    "dataset_hint": ("one measurement, such as run-42", "une mesure, par exemple run-42"),
    "choose": ("choose …", "choisir …"),
    "go_on_hint": (
        "To go on with an interrupted sending, add the same files again: what has arrived is not sent twice.",
        "Pour reprendre un envoi interrompu, ajoutez de nouveau les mêmes fichiers : ce qui est arrivé n’est pas renvoyé.",
    ),
    "files": ("Files", "Fichiers"),
    "drop": ("Drop files and folders here", "Déposez ici des fichiers et des dossiers"),
    "or": ("or", "ou"),
    "pick_files": ("Choose files", "Choisir des fichiers"),
    "pick_folder": ("Choose a folder", "Choisir un dossier"),
    "reading_folders": (
        "Reading folders: {n} file found|Reading folders: {n} files found",
        "Lecture des dossiers : {n} fichier|Lecture des dossiers : {n} fichiers",
    ),
    "close_it": ("Close the dataset when everything is received", "Clore le jeu de données quand tout est reçu"),
    "close_hint": (
        "Once closed, nothing in it changes any more. What is added later goes to a dataset that continues it.",
        "Une fois clos, plus rien n’y change. Ce qui s’ajoute ensuite va dans un jeu de données qui le continue.",
    ),
    # buttons
    "send": ("Send", "Envoyer"),
    "pause": ("Pause", "Suspendre"),
    "resume": ("Resume", "Reprendre"),
    "cancel": ("Cancel", "Annuler"),
    "remove": ("Remove", "Retirer"),
    "remove_one": ("Remove: {path}", "Retirer : {path}"),
    "retry": ("Try again", "Réessayer"),
    "retry_one": ("Try again: {path}", "Réessayer : {path}"),
    "more": ("Show {n} more", "En montrer {n} de plus"),
    "another": ("Add to another dataset", "Ajouter à un autre jeu de données"),
    "keep_sending": ("Keep sending", "Continuer l’envoi"),
    "cancel_it": ("Cancel the sending", "Annuler l’envoi"),
    "cancel_ask": ("Cancel the sending?", "Annuler l’envoi ?"),
    "cancel_means": (
        "Files that have arrived stay in the dataset. What has come of the others is thrown away.",
        "Les fichiers arrivés restent dans le jeu de données. Ce qui est venu des autres est jeté.",
    ),
    # the list
    "added": ("Added files", "Fichiers ajoutés"),
    "file": ("File", "Fichier"),
    "size": ("Size", "Taille"),
    "state": ("State", "État"),
    "action": ("Action", "Action"),
    "waiting": ("waiting", "en attente"),
    "comparing": ("being compared with what is there", "comparaison avec ce qui est déjà là"),
    "sending": ("being sent", "envoi en cours"),
    "proving": ("sent, being proven", "envoyé, vérification en cours"),
    "received": ("received", "reçu"),
    "already": ("received already", "déjà reçu"),
    "refused": ("not received", "non reçu"),
    # how far it is
    "progress": ("Progress of all files", "Progression de l’ensemble"),
    "progress_one": ("Progress of {path}", "Progression de {path}"),
    "so_far": ("{done} of {n} file received|{done} of {n} files received", "{done} fichier reçu sur {n}|{done} fichiers reçus sur {n}"),
    "bytes_of": ("{done} of {all}", "{done} sur {all}"),
    "per_second": ("{size}/s", "{size}/s"),
    "left": ("{time} left", "encore {time}"),
    "seconds": ("{n} second|{n} seconds", "{n} seconde|{n} secondes"),
    "minutes": ("{n} minute|{n} minutes", "{n} minute|{n} minutes"),
    "hours": ("{n} hour|{n} hours", "{n} heure|{n} heures"),
    "days": ("{n} day|{n} days", "{n} jour|{n} jours"),
    "units": ("B kB MB GB TB", "o ko Mo Go To"),
    "percent": ("{n} % sent", "{n} % envoyés"),
    "paused": ("Paused.", "Suspendu."),
    "started": ("Sending.", "Envoi en cours."),
    "all_sent": (
        "All is sent and being proven. You may keep the page open to see the end.",
        "Tout est envoyé et en cours de vérification. Gardez la page ouverte pour voir la fin.",
    ),
    "closing": ("All is received; the dataset is being closed.", "Tout est reçu ; le jeu de données est en train d’être clos."),
    # the end
    "done": ("Done", "Terminé"),
    "done_not_all": ("Not everything was received", "Tout n’a pas été reçu"),
    "count_received": ("{n} file received.|{n} files received.", "{n} fichier reçu.|{n} fichiers reçus."),
    "count_already": ("{n} had been received already.", "{n} avait déjà été reçu.|{n} avaient déjà été reçus."),
    "count_refused": ("{n} was not received.|{n} were not received.", "{n} n’a pas été reçu.|{n} n’ont pas été reçus."),
    "to_dataset": ("Look at {name}", "Voir {name}"),
    "is_closed": ("The dataset is closed.", "Le jeu de données est clos."),
    "is_open": ("The dataset is still open: you can add more.", "Le jeu de données est encore ouvert : vous pouvez y ajouter des fichiers."),
    "not_closed": (
        "The dataset stays open, as not everything was received. Try the files again or remove them, then it is closed.",
        "Le jeu de données reste ouvert, car tout n’a pas été reçu. Réessayez ces fichiers ou retirez-les, puis il sera clos.",
    ),
    # what is waited for
    "away_offline": (
        "This computer has no network. The sending goes on by itself when it is back.",
        "Cet ordinateur n’a plus de réseau. L’envoi reprendra tout seul à son retour.",
    ),
    "away_archiver": (
        "The archiver cannot be reached. The sending goes on by itself when it can.",
        "L’archiveur est injoignable. L’envoi reprendra tout seul.",
    ),
    "away_store": (
        "The store cannot be reached. The sending goes on by itself when it can.",
        "Le stockage est injoignable. L’envoi reprendra tout seul.",
    ),
    "away_store_never": (
        "This browser cannot reach the store at {origin}. It is tried again; if it stays, tell an admin: “archiver doctor” says why.",
        "Ce navigateur n’atteint pas le stockage à {origin}. L’essai se répète ; si cela dure, dites-le à un administrateur : « archiver doctor ».",
    ),
    "away_full": (
        "Fast storage is full. The sending goes on by itself when there is room; an admin has been told.",
        "Le stockage rapide est plein. L’envoi reprendra tout seul quand il y aura de la place ; un administrateur est prévenu.",
    ),
    "away_session": ("You are signed out. Sign in again, and the sending goes on.", "Vous êtes déconnecté. Reconnectez-vous, et l’envoi reprendra."),
    "sign_in": ("Sign in again (in a new tab)", "Se reconnecter (dans un nouvel onglet)"),
    "again": ("It goes on.", "L’envoi reprend."),
    # refusals
    "why_unreadable": (
        "The browser cannot read this file any more: it was changed, moved or taken away. Add it again.",
        "Le navigateur ne peut plus lire ce fichier : il a été modifié, déplacé ou retiré. Ajoutez-le de nouveau.",
    ),
    "why_folder": ("This folder cannot be read. Add its files one by one.", "Ce dossier ne peut pas être lu. Ajoutez ses fichiers un par un."),
    "why_too_large": (
        "It is larger than {limit}, the largest file that is taken. Split it, or ask an admin to raise the limit.",
        "Il dépasse {limit}, la taille maximale d’un fichier. Découpez-le, ou demandez à un administrateur de relever la limite.",
    ),
    "why_path": (
        "Its name, or that of a folder it is in, cannot be kept. Rename it, and add it again.",
        "Son nom, ou celui d’un de ses dossiers, ne peut pas être conservé. Renommez-le et ajoutez-le de nouveau.",
    ),
    "why_refused": (
        "The archiver does not take it. Mend what it says, and try again.",
        "L’archiveur ne le prend pas. Corrigez ce qu’il indique, puis réessayez.",
    ),
    "why_store": (
        "The store does not take it. Try again; if it stays, tell an admin.",
        "Le stockage ne le prend pas. Réessayez ; si cela dure, prévenez un administrateur.",
    ),
    "why_proof": (
        "What arrived is not what was sent. Try again; if it stays, look at the disk it comes from.",
        "Ce qui est arrivé n’est pas ce qui a été envoyé. Réessayez ; si cela dure, examinez le disque d’origine.",
    ),
    "why_missing": ("It did not arrive whole. Try again.", "Il n’est pas arrivé entier. Réessayez."),
    "why_sent": ("It was sent already, and stays in the dataset.", "Il est déjà envoyé, et reste dans le jeu de données."),
    "stop_name": (
        "This name cannot be used here. Choose another name for the dataset.",
        "Ce nom ne peut pas être utilisé ici. Choisissez un autre nom pour le jeu de données.",
    ),
    "stop_rights": (
        "You may not add to this project any more. Ask an admin of the hub whether you are still in its group.",
        "Vous ne pouvez plus ajouter à ce projet. Demandez à un administrateur du hub si vous êtes encore dans son groupe.",
    ),
    "stop_gone": (
        "The dataset, or its project, is no longer there for you. See the list of datasets, or ask an admin of the hub.",
        "Le jeu de données, ou son projet, n’est plus là pour vous. Voyez la liste des jeux de données, ou demandez à un administrateur du hub.",
    ),
    "stop_other": (
        "Somebody else has signed in in this browser. Sign in as {user}, then resume.",
        "Quelqu’un d’autre s’est connecté dans ce navigateur. Connectez-vous comme {user}, puis reprenez.",
    ),
    "stop_close": (
        "The dataset cannot be closed yet. Resume to try again; else it closes by itself after a quiet time.",
        "Le jeu de données ne peut pas encore être clos. Reprenez pour réessayer ; sinon il se clora seul après un temps calme.",
    ),
    "stop_fault": (
        "The archiver made a mistake. Resume in a while; if it stays, tell an admin.",
        "L’archiveur a fait une erreur. Reprenez dans un moment ; si cela dure, prévenez un administrateur.",
    ),
    "nothing_found": ("No file was found in what was dropped.", "Aucun fichier trouvé dans ce qui a été déposé."),
    "fill_in": ("Say first where it belongs: {field}.", "Indiquez d’abord où le ranger : {field}."),
}


def language(accepted: str | None) -> str:
    """The language to speak, by an Accept-Language header."""
    wanted = []
    for place, one in enumerate((accepted or "")[:500].split(",")):
        found = _PREFERENCE.fullmatch(one)
        if found and found[1].lower() in LANGUAGES and (weight := float(found[2] or 1)) > 0:
            wanted.append((-weight, place, found[1].lower()))
    return min(wanted)[2] if wanted else LANGUAGES[0]


class Texts:
    """The table in one language: an attribute for each text; `all` of them for the page's script."""

    def __init__(self, lang: str) -> None:
        self.lang = lang
        self.all = {name: several[LANGUAGES.index(lang)] for name, several in TEXTS.items()}

    def __getattr__(self, name: str) -> str:
        try:
            return self.__dict__["all"][name]  # type: ignore[no-any-return]
        except KeyError:
            raise AttributeError(name) from None

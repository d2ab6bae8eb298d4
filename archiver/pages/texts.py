"""What stands on pages that speak the reader's language: one table, the first that the browser asks for of those that it has.

Law: a text is a plain sentence, never markup. `{name}` stands for a value; where a number decides, `one|other` (French counts 0 as one).
The page's script is given the same texts, so that none stands in it.
"""

from __future__ import annotations

import re

from archiver.pages.console.texts import CONSOLE

_PREFERENCE = re.compile(r"\s*([A-Za-z]{1,8})(?:-[A-Za-z0-9-]+)?\s*(?:;\s*q=\s*([01](?:\.\d{0,3})?)\s*)?")

LANGUAGES = ("en", "fr")

TEXTS: dict[str, tuple[str, str]] = {
    # around every page
    "skip": ("Skip to the content", "Aller au contenu"),
    "main": ("Main", "Navigation principale"),
    "crumbs": ("Where you are", "Où vous êtes"),
    "datasets": ("Datasets", "Jeux de données"),
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
    # sizes and counts
    "n_files": ("{n} file|{n} files", "{n} fichier|{n} fichiers"),
    "n_datasets": ("{n} dataset|{n} datasets", "{n} jeu de données|{n} jeux de données"),
    "n_events": ("{n} event|{n} events", "{n} événement|{n} événements"),
    "in_files": ("{size} in {n} file|{size} in {n} files", "{size} en {n} fichier|{size} en {n} fichiers"),
    "new_messages": ("{n} new message|{n} new messages", "{n} nouveau message|{n} nouveaux messages"),
    # tiers, states, proofs
    "tier": ("Tier", "Niveau"),
    "tier_hot": ("Fast storage: read now, at its path", "Stockage rapide : lisible tout de suite, à son chemin"),
    "tier_archive": ("Archive: read in place, slower", "Archive : lisible sur place, plus lentement"),
    "tier_deep": ("Deep archive: has to be restored first", "Archive profonde : à restaurer d’abord"),
    "arriving": ("arriving", "en cours d’arrivée"),
    "erased": ("erased", "effacé"),
    "readable_now": ("Can be read now, at its path.", "Lisible tout de suite, à son chemin."),
    "readable_in_place": (
        "Can be read in place, slower. Restore it to have it back at its path.",
        "Lisible sur place, plus lentement. Restaurez-le pour le retrouver à son chemin.",
    ),
    "readable_after_restore": ("Has to be restored before it can be read.", "À restaurer avant de pouvoir être lu."),
    "readable_not_yet": ("Files are still arriving.", "Des fichiers arrivent encore."),
    "readable_never": ("It was erased: nothing of it is left.", "Il a été effacé : il n’en reste rien."),
    "dataset_open": ("open", "ouvert"),
    "dataset_closed": ("closed", "clos"),
    "dataset_erased": ("erased", "effacé"),
    "restore_requested": ("asked for", "demandée"),
    "restore_awaiting_approval": ("waiting for an admin's approval", "en attente de l’accord d’un administrateur"),
    "restore_queued": ("waiting for its turn", "en attente de son tour"),
    "restore_recalling": ("being fetched from the deep archive", "en cours de rappel de l’archive profonde"),
    "restore_copying": ("being copied", "en cours de copie"),
    "restore_ready": ("restored", "terminée"),
    "restore_partly_ready": ("partly restored", "partielle"),
    "restore_expired": ("over", "expirée"),
    "restore_denied": ("denied", "refusée"),
    "restore_cancelled": ("cancelled", "annulée"),
    "restore_failed": ("failed", "échouée"),
    "proof_read_back": ("SHA-256 of the bytes read back", "SHA-256 des octets relus"),
    "proof_store_sha256": ("the store's own SHA-256", "SHA-256 du stockage lui-même"),
    "proof_store_crc64nvme": ("the store's own CRC64NVME", "CRC64NVME du stockage lui-même"),
    # the list of datasets
    "admin": ("(admin)", "(administrateur)"),
    "new_data_wait": (
        "New data wait: {says} since {since}. They come in by themselves when it is over.",
        "De nouvelles données attendent : {says} depuis {since}. Elles entreront toutes seules ensuite.",
    ),
    "waits_full": ("fast storage is full", "le stockage rapide est plein"),
    "waits_away": ("the store of fast storage does not answer", "le stockage rapide ne répond pas"),
    "waits_refuses": ("the store of fast storage takes no data", "le stockage rapide ne prend pas de données"),
    "waits_quota": ("a project holds all that it may", "un projet a atteint tout ce qu’il peut garder"),
    "undecided": (
        "{n} restore waits for an admin:|{n} restores wait for an admin:",
        "{n} restauration attend un administrateur :|{n} restaurations attendent un administrateur :",
    ),
    "for_whom": ("for {user}, {size}", "pour {user}, {size}"),
    "search": ("Search", "Rechercher"),
    "search_hint": ("Words in name, title, instrument or project", "Mots du nom, du titre, de l’instrument ou du projet"),
    "any": ("all", "tous"),
    "show": ("Show", "Afficher"),
    "clear": ("Clear", "Effacer"),
    "more_than": ("more than {what}", "plus de {what}"),
    "found": ("{what} found", "{what} trouvés"),
    "newest_first": ("{what}, newest first", "{what}, du plus récent au plus ancien"),
    "list_title": ("Datasets, newest first", "Jeux de données, du plus récent au plus ancien"),
    "measured": ("Measured", "Mesuré"),
    "where_it_is": ("Where", "Emplacement"),
    "restore": ("Restore", "Restaurer"),
    "nothing_fits": ("Nothing fits.", "Rien ne correspond."),
    "fewer_words": ("Use fewer words or filters, or", "Essayez moins de mots ou de filtres, ou"),
    "see_all": ("see all datasets", "voyez tous les jeux de données"),
    "no_datasets": ("No datasets yet.", "Pas encore de jeu de données."),
    "no_datasets_next": (
        "They appear here as soon as their first file has arrived.",
        "Ils apparaissent ici dès que leur premier fichier est arrivé.",
    ),
    "pages": ("Pages", "Pages"),
    "first_page": ("First page", "Première page"),
    "older": ("Older datasets", "Plus anciens"),
    "plain_list": ("As a plain list, without JavaScript", "En simple liste, sans JavaScript"),
    # a dataset's row and place
    "until_day": ("until {day}", "jusqu’au {day}"),
    "in_hot_until": ("In hot until {day}", "Dans hot jusqu’au {day}"),
    "read_in_place": ("read in place", "lisible sur place"),
    "for_days_before": ("for", "pour"),
    "for_days_after": ("days", "jours"),
    "days_in_hot": ("Days that {name} shall stay in hot", "Jours pendant lesquels {name} doit rester dans hot"),
    "restore_of": ("Restore of {name}", "Restauration de {name}"),
    "restore_it": ("Restore {name}", "Restaurer {name}"),
    "keep_in_hot": ("Keep in hot", "Garder dans hot"),
    "keep_it_in_hot": ("Keep in hot {name}", "Garder dans hot {name}"),
    "ready_of": ("{ready} of {files}, {bytes} of {all}", "{ready} sur {files}, {bytes} sur {all}"),
    "there_by": ("there by {time}", "prêt au plus tard le {time}"),
    "time_counts": ("its time counts from the admin's yes", "son délai court à partir de l’accord de l’administrateur"),
    "for_user": (", for {user}", ", pour {user}"),
    "cancel_restore_of": ("Cancel the restore of {name}", "Annuler la restauration de {name}"),
    "restored_until": ("Restored, until {day}", "Restauré, jusqu’au {day}"),
    "partly_until": ("Partly restored: {ready} of {files}, until {time}", "Restauré en partie : {ready} sur {files}, jusqu’au {time}"),
    "received_on": ("received", "reçu"),
    "not_known_when": ("When it was measured is not known", "La date de mesure n’est pas connue"),
    # one dataset
    "promised_within": ("A restore is promised within {time}.", "Une restauration est promise sous {time}."),
    "a_moment": ("a moment", "un instant"),
    "not_brought_back": (
        "{n} file could not be brought back|{n} files could not be brought back",
        "{n} fichier n’a pas pu revenir|{n} fichiers n’ont pas pu revenir",
    ),
    "try_files_again": ("Try these files again", "Réessayer ces fichiers"),
    "erased_on": (
        "{n} file of this dataset was erased for ever on {day}.|{n} files of this dataset were erased for ever on {day}.",
        "{n} de ses fichiers a été effacé pour toujours le {day}.|{n} de ses fichiers ont été effacés pour toujours le {day}.",
    ),
    "was_denied": ("An admin denied your last restore:", "Un administrateur a refusé votre dernière restauration :"),
    "has_failed": ("Your last restore failed:", "Votre dernière restauration a échoué :"),
    "waits_for_admin": ("Waits for an admin", "Attend un administrateur"),
    "asks_for": ("{user} asks for {size}, {days}", "{user} demande {size}, {days}"),
    "only": ("only", "seulement"),
    "approve": ("Approve", "Accepter"),
    "deny": ("Deny", "Refuser"),
    "reason_for": ("Reason, for {user}", "Raison, pour {user}"),
    "path_in_notebook": ("Path in a notebook", "Chemin dans un notebook"),
    "not_known": ("not known", "inconnu"),
    "received_at": ("Received", "Reçu"),
    "since_when": ("since {time}", "depuis le {time}"),
    "closed_when": ("closed {time}", "clos le {time}"),
    "format": ("Format", "Format"),
    "growing": ("Still being written", "En cours d’écriture"),
    "as_of": (", as of {time}, {size}", ", au {time}, {size}"),
    "replaced_before": ("replaced by", "remplacé par"),
    "replaced_after": ("when that is complete", "quand celui-ci sera complet"),
    "copies_and_claims": ("Copies and claims", "Copies et demandes"),
    "copies": ("Copies", "Copies"),
    "wanted_until": ("Wanted until", "Voulu jusqu’au"),
    "why": ("Why", "Pourquoi"),
    "all_files": ("all files", "tous les fichiers"),
    "none": ("none", "aucun"),
    "not_all_files": ("not all files", "pas tous les fichiers"),
    "for_ever": ("for ever", "toujours"),
    "from_ready": ("days count from ready", "les jours comptent dès qu’il est prêt"),
    "its_age": ("its age", "son âge"),
    "when_closed": ("when it is closed", "quand il sera clos"),
    "not_wanted": ("not wanted", "non voulu"),
    "holds": ("Holds", "Maintiens"),
    "keep_until": ("Keep it in hot until", "Garder dans hot jusqu’au"),
    "because": ("because", "parce que"),
    "hold": ("Hold", "Maintenir"),
    "hold_it": ("Hold {name}", "Maintenir {name}"),
    "hold_nothing": ("You hold nothing.", "Vous ne maintenez rien."),
    "nobody_holds": ("Nobody holds it.", "Personne ne le maintient."),
    "its_files": (", its files", ", ses fichiers"),
    "waits_for_restore": ("(waits for its restore)", "(attend sa restauration)"),
    "end": ("End", "Terminer"),
    "end_hold_on": ("End the hold on {name}", "Terminer le maintien de {name}"),
    "path": ("Path", "Chemin"),
    "proven_copies": ("Proven copies", "Copies prouvées"),
    "preview_of": ("Preview of {name}", "Aperçu de {name}"),
    "metadata_unreadable": ("Its metadata cannot be read:", "Ses métadonnées ne peuvent pas être lues :"),
    "proven_by": ("proven {time} by {proof}", "prouvée le {time} par {proof}"),
    "stored_as": ("class {name}, version", "classe {name}, version"),
    "no_file": ("No file has arrived yet.", "Aucun fichier n’est encore arrivé."),
    "file_pages": ("Pages of files", "Pages de fichiers"),
    "first_files": ("First files", "Premiers fichiers"),
    "more_files": ("More files", "Fichiers suivants"),
    "metadata": ("Metadata", "Métadonnées"),
    "history": ("History", "Historique"),
    "last_events": ("The last {what}", "Les derniers : {what}"),
    "when": ("When", "Quand"),
    "who": ("Who", "Qui"),
    "what": ("What", "Quoi"),
    "unheard": (
        "The archiver does not answer. What is under way goes on without this page; it looks again by itself.",
        "L’archiveur ne répond pas. Ce qui est en cours continue sans cette page ; elle regarde de nouveau toute seule.",
    ),
    # what a restore would mean
    "nothing_asked": (
        "Nothing has been asked for yet. This is what it would mean:",
        "Rien n’est encore demandé. Voici ce que cela signifierait :",
    ),
    "restore_ask": ("Restore {name}?", "Restaurer {name} ?"),
    "keep_ask": ("Keep {name} in hot?", "Garder {name} dans hot ?"),
    "data": ("Data", "Données"),
    "all_in_hot": ("all in hot already", "tout est déjà dans hot"),
    "some_in_hot": ("{size} in hot already", "{size} déjà dans hot"),
    "to_bring_back": ("To bring back", "À faire revenir"),
    "from_tiers": ("{size} from {tiers}", "{size} depuis {tiers}"),
    "recalled": ("Recalled in fact", "Rappelé en réalité"),
    "in_objects": ("{size} in {n} object|{size} in {n} objects", "{size} en {n} objet|{size} en {n} objets"),
    "nothing": ("nothing", "rien"),
    "ready": ("Ready", "Prêt"),
    "ready_between": ("{least} to {most}", "{least} à {most}"),
    "ready_learned": (
        "from {n} restore before; promised within {time}|from {n} restores before; promised within {time}",
        "d’après {n} restauration passée ; promis sous {time}|d’après {n} restaurations passées ; promis sous {time}",
    ),
    "ready_within": ("within {time}", "sous {time}"),
    "ready_promised": ("as promised; too few were restored before to say more", "comme promis ; trop peu de restaurations passées pour en dire plus"),
    "stays": ("Stays in hot", "Reste dans hot"),
    "from_now": ("from now", "à partir de maintenant"),
    "from_back": ("from when it is back", "à partir de son retour"),
    "cost": ("Cost", "Coût"),
    "room": ("Room in hot", "Place dans hot"),
    "room_enough": ("as much as needed", "autant qu’il faut"),
    "room_left": ("{size} left", "reste {size}"),
    "room_too_little": ("too little now: it waits until there is room", "trop peu pour l’instant : il faudra attendre de la place"),
    "your_quota": ("Your quota", "Votre quota"),
    "quota_of": ("Quota of {name}", "Quota de {name}"),
    "no_limit": ("no limit", "sans limite"),
    "left_of": ("{size} of {limit} left", "reste {size} sur {limit}"),
    "quota_too_little": ("too little: end another restore or hold first", "trop peu : terminez d’abord une autre restauration ou un maintien"),
    "approval": ("Approval", "Accord"),
    "admin_first": ("an admin has to say yes first", "un administrateur doit d’abord dire oui"),
    "not_needed": ("not needed", "pas nécessaire"),
    "ask_admin": ("Ask an admin for it", "Demander à un administrateur"),
    "do_keep": ("Keep it in hot", "Le garder dans hot"),
    "do_restore": ("Restore it", "Le restaurer"),
    "not_now": ("Not now", "Pas maintenant"),
    "good_until": ("good until {time}", "valable jusqu’au {time}"),
    # taking data home
    "download": ("Download", "Télécharger"),
    "download_ask": ("Download …", "Télécharger …"),
    "download_chosen": ("Download the chosen files …", "Télécharger les fichiers choisis …"),
    "download_one": ("Download {path}", "Télécharger {path}"),
    "choose_one": ("Choose {path}", "Choisir {path}"),
    "download_of": ("Download {name}", "Télécharger {name}"),
    "must_come_back": (
        "{n} file of these, {size}, has to be brought back first.|{n} files of these, {size}, have to be brought back first.",
        "{n} de ces fichiers, {size}, doit d’abord revenir.|{n} de ces fichiers, {size}, doivent d’abord revenir.",
    ),
    "not_by_halves": (
        "Nothing is downloaded by halves: restore what is missing, or choose other files.",
        "Rien n’est téléchargé à moitié : restaurez ce qui manque, ou choisissez d’autres fichiers.",
    ),
    "as_zip": ("As one ZIP", "En un seul ZIP"),
    "as_zip_hint": (
        "Quick for what comes in minutes. It is not compressed, and cannot be gone on with when it is broken off.",
        "Commode pour ce qui vient en quelques minutes. Il n’est pas compressé, et ne reprend pas s’il est interrompu.",
    ),
    "zip_button": ("Download the ZIP ({size})", "Télécharger le ZIP ({size})"),
    "as_links": ("As a list of links, for large data", "En liste de liens, pour de grandes données"),
    "as_links_hint": (
        "A program fetches the files straight from the store, several at once. Run it again after an interruption: it goes on where it was.",
        "Un programme prend les fichiers directement dans le stockage, plusieurs à la fois. Relancez-le après une interruption : il reprend.",
    ),
    "curl_whole": (
        "Of a file that is whole already, curl says “error: 416”: nothing is wrong. The checksums tell in the end that all is there.",
        "D’un fichier déjà entier, curl dit « error: 416 » : ce n’est pas une erreur. Les sommes de contrôle disent à la fin que tout est là.",
    ),
    "links_secret": (
        "Whoever has the list can read these files until {time}; after that, fetch a new list.",
        "Quiconque a la liste peut lire ces fichiers jusqu’au {time} ; ensuite, prenez une nouvelle liste.",
    ),
    "list_for": ("List for {program}", "Liste pour {program}"),
    "sums": ("List of checksums", "Liste des sommes de contrôle"),
    "type_this": ("Save the lists in one folder, and type there:", "Enregistrez les listes dans un dossier, et tapez-y :"),
    "or_aria2": (
        "Or, with the list for aria2, which checks each file by itself:",
        "Ou, avec la liste pour aria2, qui vérifie lui-même chaque fichier :",
    ),
    "or_neve": ("Or in a notebook, or wherever neve is installed:", "Ou dans un notebook, ou partout où neve est installé :"),
    # me
    "messages": ("Messages", "Messages"),
    "new": ("new", "nouveau"),
    "no_messages": (
        "There are none. You are told here when data leaves the fast storage soon, and what became of your restores.",
        "Il n’y en a pas. Ici vous apprenez quand des données vont quitter le stockage rapide, et ce que sont devenues vos restaurations.",
    ),
    "read_them": ("I have read them", "Je les ai lus"),
    "where_to": ("Where messages go", "Où vont les messages"),
    "secret": ("The webhook's secret, shown this once:", "Le secret du webhook, montré cette seule fois :"),
    "secret_hint": ("A receiver checks each message with", "Un récepteur vérifie chaque message par"),
    "email": ("E-mail", "E-mail"),
    "no_mail": ("(no mail server is set up here)", "(aucun serveur de courrier n’est configuré ici)"),
    "webhook": ("Webhook", "Webhook"),
    "to_hosts": ("to {hosts}", "vers {hosts}"),
    "new_secret": ("make a new secret for the webhook", "créer un nouveau secret pour le webhook"),
    "want_messages": ("I want messages", "Je veux des messages"),
    "save": ("Save", "Enregistrer"),
    "my_restores": ("My restores", "Mes restaurations"),
    "asked_nothing": ("You have asked for nothing yet.", "Vous n’avez encore rien demandé."),
    "my_holds": ("My holds", "Mes maintiens"),
    # errors: the title, and, where the sentence itself is not in the reader's language, what it is about
    "to_datasets": ("To the datasets", "Vers les jeux de données"),
    "nearest": ("Perhaps you mean:", "Peut-être cherchez-vous :"),
    "error_failed": ("The request failed", "La demande a échoué"),
    "about_failed": ("It could not be done.", "Cela n’a pas pu être fait. Réessayez ; si cela dure, prévenez un administrateur."),
    "error_internal": ("A fault of the archiver", "Une erreur de l’archiveur"),
    "about_internal": ("Try again; if it stays, tell an admin.", "Réessayez ; si cela dure, dites à un administrateur quand c’est arrivé."),
    "error_wrong_use": ("The request is not right", "La demande n’est pas correcte"),
    "about_wrong_use": ("Something in it is wrong.", "Quelque chose n’y est pas juste. Revenez en arrière et corrigez-le."),
    "error_not_signed_in": ("Nobody is signed in", "Personne n’est connecté"),
    "about_not_signed_in": ("Sign in again.", "La session est finie. Ouvrez de nouveau le catalogue pour vous connecter."),
    "error_not_allowed": ("Not allowed", "Non autorisé"),
    "about_not_allowed": ("You may not do this.", "Vous n’en avez pas le droit. Un administrateur du hub peut le donner."),
    "error_not_found": ("Not found", "Introuvable"),
    "about_not_found": ("It is not there, or not for you.", "Cela n’existe pas, ou n’est pas pour vous. Commencez par la liste des jeux de données."),
    "error_conflict": ("Not in this state", "Impossible dans cet état"),
    "about_conflict": ("Look at it again.", "Ce n’est pas possible dans l’état présent. Regardez-le de nouveau, puis réessayez."),
    "error_cold_data": ("It must be brought back first", "Il faut d’abord le faire revenir"),
    "about_cold_data": ("Restore it first.", "Ces données ne sont pas lisibles maintenant. Restaurez-les, puis réessayez."),
    "error_too_many": ("Too many at once", "Trop à la fois"),
    "about_too_many": ("Wait until one has ended.", "Trop de vos téléchargements sont en cours. Attendez que l’un finisse."),
    "error_over_quota": ("Over the quota", "Quota dépassé"),
    "about_over_quota": (
        "End a restore or a hold first.",
        "Votre quota, ou celui du projet, est utilisé. Terminez d’abord une restauration ou un maintien.",
    ),
    "error_no_room": ("Larger than fast storage", "Plus grand que le stockage rapide"),
    "about_no_room": ("Ask for less.", "C’est plus que ce que le stockage rapide peut contenir. Demandez-en moins."),
    "error_quote_expired": ("The quote is too old", "Le devis est trop ancien"),
    "about_quote_expired": ("Ask for a new one.", "Demandez-en un nouveau : le prix et le délai peuvent avoir changé."),
    "error_quote_changed": ("The quote no longer holds", "Le devis ne vaut plus"),
    "about_quote_changed": ("Ask for a new one.", "La restauration coûterait plus que ce qui était dit. Demandez un nouveau devis."),
    "error_store_unavailable": ("The store cannot be used", "Le stockage est inutilisable"),
    "about_store_unavailable": ("Try again in a while.", "Le stockage ne répond pas. Réessayez dans un moment ; rien n’est perdu."),
    "error_ledger_unavailable": ("The ledger cannot be used", "Le registre est inutilisable"),
    "about_ledger_unavailable": ("Try again in a while.", "Le registre ne répond pas. Réessayez dans un moment ; rien n’est perdu."),
    "error_hub_unavailable": ("The hub does not answer", "Le hub ne répond pas"),
    "about_hub_unavailable": ("Try again in a while.", "Sans lui, personne ne peut être reconnu. Réessayez dans un moment."),
    "error_method_not_allowed": ("Not with this method", "Pas de cette manière"),
    "about_method_not_allowed": ("Go back.", "Cette adresse ne s’utilise pas ainsi. Revenez en arrière."),
    "fill_in": ("Say first where it belongs: {field}.", "Indiquez d’abord où le ranger : {field}."),
    **CONSOLE,
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
    """The table in one language: an attribute for each text, a call for one with values; `all` of them for the page's script."""

    def __init__(self, lang: str) -> None:
        self.lang = lang
        self.all = {name: several[LANGUAGES.index(lang)] for name, several in TEXTS.items()}

    def __getattr__(self, name: str) -> str:
        try:
            return self.__dict__["all"][name]  # type: ignore[no-any-return]
        except KeyError:
            raise AttributeError(name) from None

    def __call__(self, name: str, /, **values: str | int) -> str:
        """The text with its values; the number `n` chooses between `one|other`."""
        said = self.all[name]
        if "|" in said:
            said = said.split("|")[0 if values["n"] == 1 or (self.lang == "fr" and values["n"] == 0) else 1]
        return said.format_map({key: self.number(value) if isinstance(value, int) else value for key, value in values.items()})

    def number(self, number: float, digits: int = 0) -> str:
        """`1,204`, `1 204`; with digits behind the point `1,204.50`, `1 204,50`."""
        said = f"{number:,.{digits}f}"
        return said.translate({ord(","): "\u202f", ord("."): ","}) if self.lang == "fr" else said

    def named(self, kind: str, name: str) -> str:
        """The text of one of a kind (`restore_ready`); the name itself where there is none."""
        return self.all.get(f"{kind}_{name.replace('-', '_')}", name)

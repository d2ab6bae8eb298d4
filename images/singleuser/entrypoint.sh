#!/bin/sh
# A notebook server without its hub cannot know who may enter, so it does not start: said in a sentence, not in a traceback.
case "${1:-}" in
*neve-singleuser | *jupyterhub-singleuser)
    if [ -z "${JUPYTERHUB_API_TOKEN:-}" ] || [ -z "${JUPYTERHUB_API_URL:-}" ]; then
        echo "This image is one person's notebook server: the hub starts it (JUPYTERHUB_API_URL and JUPYTERHUB_API_TOKEN are not set)." >&2
        echo "Start Névé with \`make run\` and log in; for a shell in this image: docker run -it --rm IMAGE bash" >&2
        exit 2
    fi
    ;;
esac
exec "$@"

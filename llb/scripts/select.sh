# Sorts the files of the tree in /src into folders of /out. Arguments are groups
# that each begin with -- and the folder's name; what follows are paths and shell
# patterns from the tree's top. One that matches nothing is passed by: trees
# differ, and a step that misses a file says so itself. An exclamation mark
# before a path takes it out again of what came before it.
set -eu
cd /src
folder=
for arg in "$@"; do
  case $arg in
  --) folder= ;;
  *)
    if [ -z "$folder" ]; then
      folder=/out/$arg
      mkdir -p "$folder"
      continue
    fi
    case $arg in !*)
      rm -rf "$folder/${arg#!}"
      continue
      ;;
    esac
    # Unquoted, to be a pattern.
    for f in $arg; do
      [ -e "$f" ] || continue
      case $folder in
      # Licences are wanted side by side, whatever folder they come from.
      */licenses/*) cp -P "$f" "$folder/" ;;
      *)
        case $f in */*) mkdir -p "$folder/${f%/*}" ;; esac
        cp -RP "$f" "$folder/$f"
        ;;
      esac
    done
    ;;
  esac
done
# The files are keyed by their content; layers hold their times as well.
find /out -exec touch -h -d @0 {} +

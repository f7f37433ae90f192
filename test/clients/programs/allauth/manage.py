import os
import sys

from django.core.management import execute_from_command_line

os.environ["DJANGO_SETTINGS_MODULE"] = "settings"
execute_from_command_line([sys.argv[0], "migrate", "-v", "0"])
execute_from_command_line([sys.argv[0], "runserver", "--noreload", sys.argv[1]])

"""The six abnormalities of CODE-15% (several may hold), with the codes that say the same in other databases.

AHA has no statement "first degree AV block": 82, prolonged PR interval, is the one for it.
"""

from . import Task

CLASSES = {
    "1dAVb": ("code15:1dAVb", "scp:1AVB", "snomed:270492004", "aha:82"),
    "RBBB": ("code15:RBBB", "scp:CRBBB", "snomed:713427006", "snomed:59118001", "aha:106"),
    "LBBB": ("code15:LBBB", "scp:CLBBB", "snomed:733534002", "snomed:164909002", "aha:104"),
    "SB": ("code15:SB", "scp:SBRAD", "snomed:426177001", "aha:22"),
    "ST": ("code15:ST", "scp:STACH", "snomed:427084000", "aha:21"),
    "AF": ("code15:AF", "scp:AFIB", "snomed:164889003", "aha:50"),
}
TASK = Task("code15", "multilabel", tuple(CLASSES), CLASSES)

"""Text tables as people, programs and telephones write them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

STEP = 0.001  # mV
APPLE = {
    "en": ("Name|Date of Birth|Recorded Date|Classification|Symptoms|Software Version|Device|Sample Rate|Lead|Unit")
    + "|Jan 8, 2002|Sinus Rhythm|512 hertz|Lead I",
    "de": (
        "Name|Geburtsdatum|Aufzeichnungsdatum|Klassifizierung|Symptome|Softwareversion|Gerät|Messrate|Ableitung|Einheit"
    )
    + "|08.01.2002|Vorhofflimmern|511,562\u00a0Hertz|Ableitung I",
    "fr": ("Nom|Date de naissance|Date d’enregistrement|Classification|Symptômes|Version du logiciel|Appareil")
    + "|Fréquence d’échantillonnage|Dérivation|Unité|8 janv. 2002|Rythme sinusal|511,4 hertz|Dérivation I",
    "es": ("Nombre|Fecha de nacimiento|Fecha de registro|Clasificación|Síntomas|Versión de software|Dispositivo")
    + "|Frecuencia de muestreo|Derivación|Unidad|8 de enero de 2002|No concluyente|512 hercios|Derivación I",
    "ja": "名前|生年月日|記録日|分類|症状|ソフトウェアバージョン|デバイス|サンプルレート|誘導|単位"
    "|2002年1月8日|洞調律|512ヘルツ|誘導I",
}


def text(values, separator: str = ",", point: str = ".") -> str:
    """Rows of numbers of three decimals."""
    rows = (separator.join("" if np.isnan(v) else f"{v:.3f}".replace(".", point) for v in row) for row in values)
    return "".join(row + "\n" for row in rows)


def write(path, content: str) -> Path:
    path = Path(path).with_suffix(".csv")
    path.write_text(content, encoding="utf-8")
    return path


def apple(path, microvolt, language: str = "en", point: str = ".", name: str = "Max Testman") -> Path:
    """An export of Apple's Health app."""
    *keys, born, verdict, rate, lead = APPLE[language].split("|")
    values = [name, f'"{born}"', "2026-05-30 16:32:18 -0700", verdict, "", "1.90", '"Watch7,12"', rate]
    head = "".join(f"{key},{value}\n" for key, value in zip(keys, values))
    head += f"\n\n{keys[8]},{lead}\n{keys[9]},µV\n\n"
    return write(path, head + text([[v] for v in microvolt], point=point))


def save(path, signal, rate, leads, **more) -> Path:
    times = np.arange(len(signal[0])) / rate
    head = "time (s)," + ",".join(f"{lead} (mV)" for lead in leads) + "\n"
    return write(path, head + text(np.column_stack([times, np.transpose(signal)]), **more))


def variants(folder) -> list[Path]:
    x, folder = np.random.default_rng(0).normal(size=(40, 2)), Path(folder)
    made = [apple(folder / language, 100 * x[:, 0], language, point) for language, point in zip(APPLE, ".,,,.")]
    heads = {
        "said": "# ECG of today\nSampling frequency: 250 Hz\nUnits: uV\nLeads: I, II\n",
        "gain": "Device: X7\nfs=250\nGain: 200 adu/mV\nI,II\n",
        "units": "'MLII','V5'\n'mV','mV'\n",
    }
    made += [write(folder / name, head + text(x)) for name, head in heads.items()]
    made.append(write(folder / "semicolons", "I [mV];II [mV]\n" + text(x, ";", ",")))
    made.append(write(folder / "blanks", "t I II\n" + text(np.column_stack([np.arange(40) * 4, x]), " ")))
    polar = "Phone timestamp;sensor timestamp [ns];timestamp [ms];ecg [uV]\n"
    for i in range(40):
        polar += f"2021-05-16T08:08:40.{i * 7:03d};{599636646177065964 + i * 7692308};{i * 7.692308:.6f};{i * i}\n"
    rows = "".join(f'{i},250,"{(100 * x[:, i]).round().astype(int).tolist()}"\n' for i in range(2))
    return [*made, write(folder / "polar", polar), write(folder / "rows", "id,frequency,signal\n" + rows)]

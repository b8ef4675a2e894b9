"""Names of blood cell types as the labelled sets spell them, to move labels between sets."""

from __future__ import annotations

__all__ = ["COMMON", "SAME"]

COMMON = {
    "B": "CD19+ B, bcells, B cells",
    "CD4 T": "CD4+/CD25 T Reg, CD4+/CD45RO+ Memory, CD4+/CD45RA+/CD25- Naive T, Naive CD4 T, Memory CD4 T, "
    "T_CD4, memoryt, regulatoryt, thelper, naivet, CD4 T cells",
    "CD8 T": "CD8+ Cytotoxic T, CD8+/CD45RA+ Naive Cytotoxic, T_CD8, cytotoxict, naivecytotoxic, CD8 T cells",
    "NK": "CD56+ NK, nk, NK cells",
    "Monocyte": "CD14 mono, CD14+ Monocyte, CD14+ Mono, FCGR3A+ Mono, Mono_CD14, Mono_CD16, monocytes, "
    "CD14+ Monocytes, FCGR3A+ Monocytes",
    "Dendritic": "DC, Dendritic cells",
    "Platelet": "MK, Megakaryocytes",
}
SAME = {name: common for common, names in COMMON.items() for name in names.split(", ")}

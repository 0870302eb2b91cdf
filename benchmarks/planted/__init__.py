"""Trainings with a planted fault, and healthy ones: what the doctor is measured on."""

from benchmarks.planted.faults_of_teachers import FAULTS_OF_TEACHERS
from benchmarks.planted.healthy import HEALTHY

FAULTS = (*FAULTS_OF_TEACHERS,)
